//! Runs the cases against a host.

mod filter;
mod launch;
mod options;
mod outcome;
mod output;
mod preflight;
mod probe;
mod target;

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

pub use self::filter::Filter;
pub use self::launch::{BadCommand, LaunchCommand};
pub use self::options::{Options, Profile, RunError};
pub use self::outcome::{Outcome, Verdict};
pub use self::output::{Summary, json, junit, row, table_head};
use self::target::Target;
use crate::backend::Backend;
use crate::case::{Case, Host, Plan};
use crate::guest::{Capabilities, Variant};

/// The hosts that may be running already, or for which there may be commands.
const HOSTS: [Host; 3] = [Host::Any, Host::Streaming { decodes: false }, Host::Streaming { decodes: true }];

/// Runs the cases, and reports each outcome as soon as it is available.
///
/// # Errors
/// If the run can't start. Failures of the host are outcomes, not errors.
pub async fn run(
    cases: &[Case],
    options: &Options,
    mut each: impl FnMut(&Outcome),
) -> Result<Vec<Outcome>, RunError> {
    if !HOSTS.iter().any(|host| options.has(host)) {
        return Err(RunError::NoTarget);
    }
    let mut running = None;
    for host in HOSTS {
        let Some(address) = options.address(&host) else { continue };
        let checked = preflight::check(address, options.http, options.timeout).await;
        let capabilities = checked.map_err(RunError::Setup)?;
        if host == Host::Any {
            running = Some(capabilities);
        }
    }
    let backend = match HOSTS.iter().any(|host| options.launch(host).is_some()) {
        false => None,
        true => Some(OwnBackend::start().await.map_err(RunError::Backend)?),
    };
    let mut target = Target::new(options, backend.as_ref().map(|backend| backend.address))?;
    let started = target.capabilities().await.map_err(RunError::Setup)?;
    let mut outcomes = Vec::new();
    for case in cases.iter().filter(|case| options.filter.as_ref().is_none_or(|f| f.matches(case.id()))) {
        let start = Instant::now();
        let verdict = match skipped(case, options).or_else(|| incapable(case, options, running, started)) {
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
        Some(http) if http != options.http => return Some(format!("applies only to {http}")),
        _ => {}
    }
    if let Some(streams) = case.streams()
        && !options.streams.includes(streams)
    {
        return Some(format!("needs a host that streams {streams}; see --streams"));
    }
    if options.has(&case.host) {
        return None;
    }
    Some(match case.host {
        Host::Any => {
            "needs a host: pass the URL of one with --url, or a command that starts one with --launch".to_owned()
        }
        Host::Own { .. } => "needs its own host: pass a command that starts one with --launch".to_owned(),
        Host::Streaming { decodes: false } => {
            "needs a host that streams: pass the URL of one with --stream-url, or a command that starts one with \
             --launch-stream"
                .to_owned()
        }
        Host::Streaming { decodes: true } => {
            "needs a host that streams and decodes bodies: pass the URL of one with --decoded-url, or a command that \
             starts one with --launch-decoded"
                .to_owned()
        }
    })
}

/// Why the guest can't take part in a case; `running` is what that of the host at the address is capable of.
fn incapable(
    case: &Case,
    options: &Options,
    running: Option<Capabilities>,
    started: Capabilities,
) -> Option<String> {
    let capabilities = match case.host() {
        Host::Any => running.unwrap_or(started),
        host if options.guest.is_some() && host.variant() != Variant::Conformance => {
            return Some(format!("needs the variant `{}` of the kit's own guest", host.variant()));
        }
        Host::Own { .. } | Host::Streaming { .. } => started,
    };
    capabilities.lacking(case.needs()).map(|what| format!("the guest doesn't support this: the case {what}"))
}

async fn verdict(case: &Case, target: &mut Target<'_>) -> Verdict {
    let result = match &case.plan {
        Plan::Refused => target.refuses(case).await,
        _ => target.exchange(case).await,
    };
    match result {
        Ok(()) => Verdict::Passed,
        Err(seen) => {
            // The state of the host must not affect the next case.
            target.forget();
            Verdict::Failed(seen)
        }
    }
}

/// The backend for hosts that the kit starts itself.
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The number of cases that are run, over HTTP/1.1, with a guest that has these capabilities.
    fn count(capabilities: Capabilities) -> usize {
        let command = || LaunchCommand::parse("host {guest} {backend} {listen}").ok();
        let options = Options {
            launch: command(),
            launch_stream: command(),
            launch_decoded: command(),
            guest: Some(PathBuf::new()),
            ..Options::default()
        };
        let cases = crate::cases::all();
        let runs = |case: &&Case| {
            skipped(case, &options).or_else(|| incapable(case, &options, None, capabilities)).is_none()
        };
        cases.iter().filter(runs).count()
    }

    #[test]
    fn the_number_of_cases_for_each_binding_is_documented() {
        let (text, numbers) = (Capabilities::TEXT, Capabilities::NUMBERS);
        let [zig, assemblyscript, go] = [text, numbers, text | numbers].map(count);
        let c = count(Capabilities::MEMORY | Capabilities::LIMITS | text | numbers);
        let expected =
            format!("{zig} cases for Zig, {assemblyscript} for AssemblyScript, {go} for Go and {c} for C");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md");
        let docs = std::fs::read_to_string(path).unwrap();
        let docs: Vec<&str> = docs.split_whitespace().collect();
        assert!(docs.join(" ").contains(&expected), "{expected}");
    }
}
