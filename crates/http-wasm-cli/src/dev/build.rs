//! The build command.

use std::io::{self, PipeReader, Read as _, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::failure::plain;

/// How often a running build is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long to wait for output from processes that a finished build has left running.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// How much of the end of a build's output is kept.
const KEPT_OUTPUT: usize = 64 * 1024;

/// Runs the build command.
#[derive(Debug, Clone)]
pub(super) struct Builder {
    command: String,
    directory: PathBuf,
    running: Arc<Mutex<Option<Child>>>,
}

/// A build that has ended.
#[derive(Debug)]
pub(super) struct BuildResult {
    /// Why it failed, if it did.
    pub(super) failure: Option<String>,
    /// The end of its output.
    pub(super) output: String,
}

impl Builder {
    pub(super) fn new(command: String, directory: PathBuf) -> Self {
        Self { command, directory, running: Arc::default() }
    }

    pub(super) fn command(&self) -> &str {
        &self.command
    }

    /// Builds, and copies the command's output to stderr. Blocks.
    pub(super) fn run(&self) -> BuildResult {
        self.run_with(io::stderr())
    }

    /// The same, with another destination for the command's output.
    fn run_with(&self, shown: impl Write + Send + 'static) -> BuildResult {
        match self.try_run(shown) {
            Ok((status, output)) => {
                let failure = (!status.success()).then(|| status.to_string());
                BuildResult { failure, output }
            }
            Err(error) => {
                let failure = Some(format!("cannot run the shell: {}", plain(&error)));
                BuildResult { failure, output: String::new() }
            }
        }
    }

    fn try_run(&self, shown: impl Write + Send + 'static) -> io::Result<(ExitStatus, String)> {
        let (output, writer) = io::pipe()?;
        let mut command = shell(&self.command);
        command.current_dir(&self.directory).stdin(Stdio::null());
        command.stdout(writer.try_clone()?).stderr(writer);
        *self.running() = Some(command.spawn()?);
        // It holds the write end of the pipe.
        drop(command);
        let (ended, has_ended) = mpsc::channel();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let end = kept.clone();
        thread::spawn(move || {
            copy(output, shown, &end);
            let _ = ended.send(());
        });
        let status = loop {
            {
                let mut running = self.running();
                let Some(child) = running.as_mut() else {
                    return Err(io::Error::other("the build was stopped"));
                };
                if let Some(status) = child.try_wait()? {
                    *running = None;
                    break status;
                }
            }
            thread::sleep(POLL_INTERVAL);
        };
        let _ = has_ended.recv_timeout(LAST_OUTPUT);
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((status, String::from_utf8_lossy(&kept).into_owned()))
    }

    /// Stops a build in progress, with all processes that it has started.
    pub(super) fn stop(&self) {
        if let Some(mut child) = self.running().take() {
            #[cfg(unix)]
            let _ = rustix::process::kill_process_group(
                rustix::process::Pid::from_child(&child),
                rustix::process::Signal::KILL,
            );
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies output to stderr, and keeps its end.
fn copy(mut output: PipeReader, mut shown: impl Write, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 8192];
    while let Ok(read @ 1..) = output.read(&mut buffer) {
        // If the terminal is gone, there is nowhere to report that.
        let _ = shown.write_all(&buffer[..read]);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&buffer[..read]);
        let too_many = kept.len().saturating_sub(KEPT_OUTPUT);
        kept.drain(..too_many);
    }
}

#[cfg(unix)]
fn shell(command: &str) -> Command {
    use std::os::unix::process::CommandExt as _;

    let mut shell = Command::new("sh");
    // Its own process group, so that all of its processes can be stopped.
    shell.arg("-c").arg(command).process_group(0);
    shell
}

#[cfg(not(unix))]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(command);
    shell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_build_that_fails_says_how_and_keeps_the_end_of_its_output() {
        let directory = tempfile::tempdir().unwrap();
        let built = |command: &str| {
            Builder::new(command.to_owned(), directory.path().to_owned()).run_with(io::sink())
        };
        let failed = built("echo to stdout; echo to stderr >&2; exit 3");
        assert!(failed.failure.unwrap().contains("exit status: 3"));
        assert_eq!(failed.output, "to stdout\nto stderr\n");
        let long = built("head -c 200000 /dev/zero | tr '\\0' x; echo end; pwd > here");
        assert_eq!((long.failure, long.output.len()), (None, KEPT_OUTPUT));
        assert!(long.output.ends_with("xend\n"));
        assert!(directory.path().join("here").is_file(), "it runs in the directory");
    }

    #[cfg(unix)]
    #[test]
    fn stopping_a_build_stops_all_processes_that_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let builder = Builder::new("sleep 60 & echo $! > pid; wait".to_owned(), directory.path().to_owned());
        let running = builder.clone();
        let build = thread::spawn(move || running.run_with(io::sink()));
        let pid = loop {
            match std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u32>().ok()) {
                Some(pid) => break pid,
                None => thread::sleep(POLL_INTERVAL),
            }
        };
        builder.stop();
        assert!(build.join().unwrap().failure.is_some());
        // It may stay a zombie until it is waited for.
        let ended = |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z'));
        let is_gone = || std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, ended);
        for _ in 0..500 {
            if is_gone() {
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
        panic!("the command's child is still running");
    }
}
