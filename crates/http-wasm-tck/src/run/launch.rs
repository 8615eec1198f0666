//! Starting hosts.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::process::{Child, Command};

use super::probe::reaches_backend;
use crate::case::Http;

/// How long a host may take to start.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The command that starts a host, with the placeholders `{guest}`, `{config}`, `{backend}` and `{listen}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchCommand(Vec<String>);

/// The error for an invalid command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadCommand {
    /// It is empty.
    #[error("the command is empty")]
    Empty,
    /// A quote is not closed.
    #[error("a quote is not closed")]
    Quote,
    /// A required placeholder is missing.
    #[error("`{0}` is missing: the kit replaces it with {1}")]
    Missing(&'static str, &'static str),
}

impl LaunchCommand {
    /// A command from its words.
    ///
    /// # Errors
    /// If a required placeholder is missing.
    pub fn new(words: Vec<String>) -> Result<Self, BadCommand> {
        if words.is_empty() {
            return Err(BadCommand::Empty);
        }
        for (place, what) in [
            ("{guest}", "the file of the guest to load"),
            ("{backend}", "the URL to forward to"),
            ("{listen}", "the HOST:PORT to listen on"),
        ] {
            if !words.iter().any(|word| word.contains(place)) {
                return Err(BadCommand::Missing(place, what));
            }
        }
        Ok(Self(words))
    }

    /// A command from a line, which is split at spaces except between quotes.
    ///
    /// # Errors
    /// If a quote isn't closed, or a required placeholder is missing.
    pub fn parse(line: &str) -> Result<Self, BadCommand> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match quote {
                Some(open) if c == open => quote = None,
                None if c == '"' || c == '\'' => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                None if c.is_whitespace() => words.extend(word.take()),
                _ => word.get_or_insert_default().push(c),
            }
        }
        if quote.is_some() {
            return Err(BadCommand::Quote);
        }
        words.extend(word);
        Self::new(words)
    }

    fn command(&self, places: &[(&str, &str)]) -> Command {
        let fill =
            |word: &String| places.iter().fold(word.clone(), |word, (place, text)| word.replace(place, text));
        let mut words = self.0.iter().map(fill);
        // `new` has checked that there is a first word.
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

/// A host that the kit started; killed when dropped, with all processes that it has started in turn.
pub(super) struct Launched {
    child: Child,
    /// The process group that it was started in.
    #[cfg(unix)]
    group: Option<rustix::process::Pid>,
    pub(super) address: String,
    log: PathBuf,
    /// The length of the log file before the host was started.
    log_start: u64,
}

/// The arguments for starting a host.
pub(super) struct Setting<'a> {
    pub(super) guest: &'a Path,
    pub(super) config: &'a Path,
    pub(super) backend: SocketAddr,
    pub(super) own_log: Option<&'a Path>,
    /// Where the host's output goes.
    pub(super) output: &'a Path,
}

impl Launched {
    /// Starts a host, without waiting for it.
    pub(super) fn start(command: &LaunchCommand, setting: &Setting<'_>) -> Result<Self, String> {
        let address = free_address().map_err(|error| format!("no free port: {error}"))?;
        let places = [
            ("{guest}", &*setting.guest.to_string_lossy()),
            ("{config}", &*setting.config.to_string_lossy()),
            ("{backend}", &format!("http://{}", setting.backend)),
            ("{listen}", &address),
        ];
        let mut command = command.command(&places);
        let output = File::create(setting.output)
            .map_err(|error| format!("cannot create a file for its output: {error}"))?;
        let errors =
            output.try_clone().map_err(|error| format!("cannot create a file for its output: {error}"))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let log = setting.own_log.unwrap_or(setting.output).to_owned();
        let log_start = setting.own_log.and_then(|log| log.metadata().ok()).map_or(0, |file| file.len());
        let child = command.spawn().map_err(|error| format!("cannot start the host: {error}"))?;
        Ok(Self {
            #[cfg(unix)]
            group: child.id().and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?)),
            child,
            address,
            log,
            log_start,
        })
    }

    /// Waits until it forwards requests.
    pub(super) async fn ready(&mut self, http: Http) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let failed = match reaches_backend(&self.address, http, TIMEOUT / 4).await {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            };
            if let Some(status) = self.exited() {
                return Err(format!("the host exited with {status}; its output: {}", self.last_output()));
            }
            if start.elapsed() > TIMEOUT {
                return Err(failed);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its exit status, if it has exited.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it has logged so far.
    pub(super) fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }

    fn last_output(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(3)..];
        if last.is_empty() { "nothing".to_owned() } else { last.join(" / ") }
    }
}

#[cfg(unix)]
impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _all_ended = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// Ports below the range that systems assign to outgoing connections. In that range, a connection could take the port
/// between this check and the host's start.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// An address that is free, and won't be assigned again soon.
fn free_address() -> io::Result<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Kits that run at the same time start at different ports.
    let begin = std::process::id().wrapping_mul(613);
    let mut last = None;
    for _ in PORTS {
        let index = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS.len() as u32;
        let address = SocketAddr::from(([127, 0, 0, 1], PORTS.start + index as u16));
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address.to_string()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_for_hosts_are_distinct_and_below_the_ephemeral_ports() {
        let (first, second) = (free_address().unwrap(), free_address().unwrap());
        assert_ne!(first, second);
        for address in [first, second] {
            let port = address.parse::<SocketAddr>().unwrap().port();
            assert!(PORTS.contains(&port), "{address}");
        }
    }

    #[test]
    fn a_command_is_split_at_spaces_and_its_placeholders_are_replaced() {
        let command = LaunchCommand::parse("host --g={guest} 'to {backend}' \"\" {listen}").unwrap();
        let filled = command.command(&[("{guest}", "a b"), ("{backend}", "x"), ("{listen}", "y")]);
        let args: Vec<_> = filled.as_std().get_args().collect();
        assert_eq!(args, ["--g=a b", "to x", "", "y"]);
    }

    #[test]
    fn a_command_without_its_placeholders_is_refused() {
        assert_eq!(LaunchCommand::parse(" "), Err(BadCommand::Empty));
        assert_eq!(LaunchCommand::parse("a '{guest}"), Err(BadCommand::Quote));
        let error = LaunchCommand::parse("a {guest} {listen}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`{backend}` is missing: the kit replaces it with the URL to forward to"
        );
    }
}
