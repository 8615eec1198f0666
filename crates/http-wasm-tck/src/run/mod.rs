//! Driving the cases against a host.

mod filter;
mod launch;
mod output;
mod preflight;
mod target;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use self::filter::Filter;
pub use self::launch::{BadCommand, LaunchCommand};
pub use self::output::{Summary, json, junit, row, table_head};
use self::target::Target;
use crate::backend::Backend;
use crate::case::{Case, Host, Http, Plan, Section};

/// Whose behaviour is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// What the ABI says, everywhere.
    #[default]
    Abi,
    /// The reference host's behaviour where it differs and harms nobody.
    Reference,
}

/// What to run, and against what.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host under test, HOST:PORT: it has the conformance guest loaded and forwards to the kit's backend.
    pub address: Option<String>,
    /// How to start the host under test; for cases that need one of their own, and for all without an address.
    pub launch: Option<LaunchCommand>,
    /// Where the started hosts write their log, when that is neither stdout nor stderr.
    pub log_file: Option<PathBuf>,
    /// Which HTTP to speak.
    pub http: Http,
    /// Which cases to run; all without.
    pub filter: Option<Filter>,
    /// Whose behaviour is expected.
    pub profile: Profile,
    /// How long the host may take to answer a request. Some answers take a second, as the backend makes a pause.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: None,
            launch: None,
            log_file: None,
            http: Http::One,
            filter: None,
            profile: Profile::Abi,
            timeout: Duration::from_secs(10),
        }
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the ABI says.
    Passed,
    /// What was expected, and what was seen instead.
    Failed(String),
    /// Why it was not run.
    Skipped(String),
}

/// A case and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `group/name`.
    pub id: String,
    /// `core`, or the group that needs hosts of its own.
    pub group: String,
    /// Where the ABI says it.
    pub section: Section,
    /// What the ABI says.
    pub says: String,
    /// How the reference host differs, if it does.
    pub differs: Option<&'static str>,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub time: Duration,
}

/// The run can't begin.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// Neither an address nor a command to start a host was given.
    #[error(
        "nothing to test: name a host with --url, or how to start one with --launch, or test ours with --self"
    )]
    NoTarget,

    /// The kit's own backend can't be started.
    #[error("cannot start the backend: {0}")]
    Backend(#[source] io::Error),

    /// The host under test is not set up for the kit.
    #[error("{0}")]
    Setup(String),

    /// Guests and configurations can't be written to a temporary directory.
    #[error("cannot write files for the host: {0}")]
    Files(#[source] io::Error),
}

/// Runs the cases, and hands out each outcome as soon as it is there.
///
/// # Errors
/// When the run can't begin; what a host does wrong is an outcome.
pub async fn run(
    cases: &[Case],
    options: &Options,
    mut each: impl FnMut(&Outcome),
) -> Result<Vec<Outcome>, RunError> {
    if options.address.is_none() && options.launch.is_none() {
        return Err(RunError::NoTarget);
    }
    if let Some(address) = &options.address {
        preflight::check(address, options.http, options.timeout).await.map_err(RunError::Setup)?;
    }
    let backend = match &options.launch {
        None => None,
        Some(_) => Some(OwnBackend::start().await.map_err(RunError::Backend)?),
    };
    let mut target = Target::new(options, backend.as_ref().map(|backend| backend.address))?;
    let mut outcomes = Vec::new();
    for case in cases.iter().filter(|case| options.filter.as_ref().is_none_or(|f| f.matches(case.id()))) {
        let start = Instant::now();
        let verdict = match skipped(case, options) {
            Some(why) => Verdict::Skipped(why),
            None => verdict(case, &mut target).await,
        };
        let outcome = Outcome {
            id: case.id().to_owned(),
            group: case.group().to_owned(),
            section: case.section(),
            says: case.says().to_owned(),
            differs: case.difference(),
            verdict,
            time: start.elapsed(),
        };
        each(&outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn skipped(case: &Case, options: &Options) -> Option<String> {
    match case.only {
        Some(http) if http != options.http => return Some(format!("a matter of {http}")),
        _ => {}
    }
    let needs_own = matches!(case.host(), Host::Own { .. });
    (needs_own && options.launch.is_none())
        .then(|| "needs a host of its own: say with --launch how to start one".to_owned())
}

async fn verdict(case: &Case, target: &mut Target<'_>) -> Verdict {
    let result = match &case.plan {
        Plan::Refused => target.refuses(case).await,
        _ => target.exchange(case).await,
    };
    match result {
        Ok(()) => Verdict::Passed,
        Err(seen) => {
            // Whatever state the host is in now, the next case must not suffer from it.
            target.forget();
            Verdict::Failed(seen)
        }
    }
}

/// The backend of hosts that the kit starts itself.
struct OwnBackend {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl OwnBackend {
    async fn start() -> io::Result<Self> {
        let backend = Backend::bind("127.0.0.1:0").await?;
        Ok(Self { address: backend.local_addr()?, task: tokio::spawn(backend.serve()) })
    }
}

impl Drop for OwnBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}
