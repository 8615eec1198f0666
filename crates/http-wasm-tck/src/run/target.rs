//! The host under test: one that is running already, or ones that are started as cases need them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future;
use tempfile::TempDir;

use super::launch::{Launched, Setting};
use super::options::{Options, Profile, RunError};
use super::preflight;
use super::probe::fetch;
use crate::case::{Case, Exchange, Host, Observed, Plan};
use crate::client::{Request, send};
use crate::guest::{self, Capabilities, Variant};

/// How long after the response a line may take to appear in the log, and the end of a request to reach the backend.
const LATE: Duration = Duration::from_secs(3);

pub(super) struct Target<'a> {
    options: &'a Options,
    backend: Option<SocketAddr>,
    files: TempDir,
    /// The host started most recently, and the settings that it was started for.
    launched: Option<(Host, Launched)>,
    count: AtomicU64,
    run: u128,
}

impl<'a> Target<'a> {
    pub(super) fn new(options: &'a Options, backend: Option<SocketAddr>) -> Result<Self, RunError> {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let files = tempfile::tempdir().map_err(RunError::Files)?;
        Ok(Self { options, backend, files, launched: None, count: AtomicU64::new(0), run })
    }

    /// Stops the host that was started.
    pub(super) fn forget(&mut self) {
        self.launched = None;
    }

    /// Runs the exchanges of a case.
    pub(super) async fn exchange(&mut self, case: &Case) -> Result<(), String> {
        let address = match self.options.address(&case.host) {
            Some(address) => address.to_owned(),
            None => self.launch(&case.host).await?,
        };
        match &case.plan {
            Plan::InTurn(exchanges) => {
                for exchange in exchanges {
                    self.one(&address, case, exchange).await?;
                }
                Ok(())
            }
            Plan::Together(exchanges) => {
                let all = exchanges.iter().map(|exchange| self.one(&address, case, exchange));
                future::join_all(all).await.into_iter().collect()
            }
            Plan::Refused => Ok(()),
        }
    }

    async fn one(&self, address: &str, case: &Case, exchange: &Exchange) -> Result<(), String> {
        let http = self.options.http;
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let sent = exchange.prepare(&case.id, format!("{:x}-{count}", self.run));
        let response = send(address, http, &sent.request, self.options.timeout).await;
        let lenient = self.options.profile == Profile::Reference;
        let expected = case.differs.as_ref().filter(|_| lenient).and_then(|d| d.expects.as_deref());
        let start = Instant::now();
        loop {
            let backend = fetch(address, http, &sent.id, self.options.timeout).await?;
            let log = self.launched.as_ref().map(|(_, launched)| launched.log());
            let observed = Observed {
                response: response.as_ref().map_err(|error| &error[..]),
                backend: &backend,
                log: log.as_deref(),
                lenient,
            };
            let result = exchange.evaluate(&observed, None);
            let result = match (result, expected) {
                // Where the reference host differs, both its documented behaviour and the ABI's are accepted.
                (Err(_), Some(expected)) => exchange.evaluate(&observed, Some(expected)),
                (result, _) => result,
            };
            match result {
                Ok(()) => return Ok(()),
                Err(_) if exchange.outlasts_response() && start.elapsed() < LATE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(mismatch) => return Err(mismatch.to_string()),
            }
        }
    }

    /// What the guest of started hosts is capable of.
    pub(super) async fn capabilities(&mut self) -> Result<Capabilities, String> {
        let Some(guest) = &self.options.guest else { return Ok(Capabilities::all()) };
        let failed = format!("{} can't be used as the conformance guest", guest.display());
        let address = self.launch(&Host::Any).await.map_err(|error| format!("{failed}: {error}"))?;
        let asked = preflight::capabilities(&address, self.options.http, self.options.timeout).await;
        asked.map_err(|seen| format!("{failed}: asked for its capabilities, it answers with {seen}"))
    }

    /// The address of a host for a case.
    async fn launch(&mut self, host: &Host) -> Result<String, String> {
        let wanted = match host {
            Host::Any => Host::Own { variant: Variant::Conformance, config: Vec::new() },
            own => own.clone(),
        };
        if let Some((host, launched)) = &mut self.launched
            && *host == wanted
            && launched.exited().is_none()
        {
            return Ok(launched.address.clone());
        }
        self.forget();
        let mut launched = self.start(&wanted)?;
        launched.ready(self.options.http).await?;
        let address = launched.address.clone();
        self.launched = Some((wanted, launched));
        Ok(address)
    }

    fn start(&self, host: &Host) -> Result<Launched, String> {
        let (variant, config) = match host {
            Host::Own { variant, config } => (*variant, &config[..]),
            Host::Any | Host::Streaming { .. } => (host.variant(), &[][..]),
        };
        let (Some(command), Some(backend)) = (self.options.launch(host), self.backend) else {
            return Err("there is no command to start a host".to_owned());
        };
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let guest = match &self.options.guest {
            Some(guest) => guest.clone(),
            None => {
                let wasm = guest::wasm(variant).map_err(|error| format!("the guest is broken: {error}"))?;
                self.file(&format!("{variant}-{count}.wasm"), &wasm)?
            }
        };
        let config = self.file(&format!("config-{count}"), config)?;
        let setting = Setting {
            guest: &guest,
            config: &config,
            backend,
            own_log: self.options.log_file.as_deref(),
            output: &self.files.path().join(format!("output-{count}")),
        };
        Launched::start(command, &setting)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
        let path = self.files.path().join(name);
        std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Checks that the host rejects the guest: it exits, or at least never serves.
    pub(super) async fn refuses(&mut self, case: &Case) -> Result<(), String> {
        const TIMEOUT: Duration = Duration::from_secs(10);
        self.forget();
        let mut launched = self.start(&case.host)?;
        let start = Instant::now();
        while start.elapsed() < TIMEOUT {
            if let Some(status) = launched.exited() {
                return if status.success() {
                    Err("the host rejects the guest: seen that it exited successfully".to_owned())
                } else {
                    names_the_cause(case, &launched)
                };
            }
            let left = TIMEOUT.saturating_sub(start.elapsed());
            let answer = send(&launched.address, self.options.http, &Request::default(), left).await;
            if answer.is_ok_and(|response| response.status < 500) {
                return Err("the host rejects the guest: seen that it serves requests".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        names_the_cause(case, &launched)
    }
}

/// Checks that the error says what is missing.
fn names_the_cause(case: &Case, launched: &Launched) -> Result<(), String> {
    let log = launched.log();
    match case.host {
        Host::Own { variant: Variant::NoHandleResponse, .. } if !log.contains("handle_response") => {
            Err("an error that names handle_response: seen none".to_owned())
        }
        _ => Ok(()),
    }
}
