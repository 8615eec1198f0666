//! On SIGUSR2, a successor is started: the same program with the same arguments, which inherits the listening sockets.
//! Connections that haven't been accepted wait in the sockets, so none is refused, whichever process accepts them.

use std::io::{self, Read as _, pipe};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::inherited::READY_FD;

/// The distance between the numbers that are tried for the first inherited descriptor.
const FD_STEP: i32 = 64;

/// Waits for the signal to start a successor.
#[derive(Debug)]
pub(crate) struct Successor {
    signal: Signal,
}

impl Successor {
    /// Replaces the signal's default action, which is to terminate the process at once.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self { signal: signal(SignalKind::user_defined2())? })
    }

    /// Completes when a successor is ready to serve. Another signal in the meantime kills a successor that isn't ready
    /// yet, and starts another one.
    pub(crate) async fn ready(&mut self, sockets: impl Fn() -> Vec<Arc<TcpListener>>) {
        let mut started = None;
        loop {
            let ready = async {
                match &mut started {
                    Some(successor) => Starting::ready(successor).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                signal = self.signal.recv() => {
                    if signal.is_none() {
                        return std::future::pending().await;
                    }
                    if let Some(successor) = started.take() {
                        successor.kill();
                        tracing::warn!("killed a successor that was not ready before the next signal");
                    }
                    tracing::info!("starting a successor");
                    match begin(&sockets()) {
                        Ok(successor) => started = Some(successor),
                        Err(reason) => failed(&reason),
                    }
                }
                ready = ready => match ready {
                    Ok(pid) => return tracing::info!(pid, "the successor is ready"),
                    Err(reason) => {
                        started = None;
                        failed(&reason);
                    }
                },
            }
        }
    }
}

fn failed(reason: &str) {
    tracing::error!(reason, "the successor failed to start; this process keeps serving");
}

/// A successor that isn't ready yet. If this process ends, the successor continues.
struct Starting {
    process: Arc<Mutex<Process>>,
    result: oneshot::Receiver<Result<u32, String>>,
}

#[derive(Default)]
struct Process {
    child: Option<Child>,
    given_up: bool,
}

impl Starting {
    /// Completes when it is ready, or has exited.
    async fn ready(&mut self) -> Result<u32, String> {
        (&mut self.result).await.map_err(|_| "cannot wait for it".to_owned())?
    }

    /// Kills it. The thread that waits for it notices that its pipe is closed.
    fn kill(self) {
        let mut process = lock(&self.process);
        process.given_up = true;
        if let Some(child) = &mut process.child {
            // It may already have exited.
            let _ = child.kill();
        }
    }
}

fn lock(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a successor with these sockets.
fn begin(sockets: &[Arc<TcpListener>]) -> Result<Starting, String> {
    let words = |error: io::Error| error.to_string();
    let sockets = sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned());
    let sockets = sockets.collect::<io::Result<_>>().map_err(words)?;
    let (tell, result) = oneshot::channel();
    let process = Arc::<Mutex<Process>>::default();
    let starting = Starting { process: process.clone(), result };
    // This isn't a task, since waiting for a child that never becomes ready would delay the exit of this process.
    let thread = std::thread::Builder::new().name("successor".to_owned());
    // The receiver may have been dropped, if this process was stopped in the meantime.
    thread.spawn(move || tell.send(start(sockets, &process)).ok()).map_err(words)?;
    Ok(starting)
}

/// Starts the program, and waits until it is ready.
fn start(sockets: Vec<OwnedFd>, process: &Mutex<Process>) -> Result<u32, String> {
    let (mut ready, writer) = pipe().map_err(|error| error.to_string())?;
    // The program is started by the name that it was called with, which may refer to a new file by now.
    let mut args = std::env::args_os();
    let mut command = Command::new(args.next().ok_or("cannot determine the name of this program")?);
    command.args(args).env_remove("LISTEN_PID").env_remove("LISTEN_FDNAMES");

    let count = sockets.len();
    let fds: Vec<OwnedFd> = sockets.into_iter().chain([writer.into()]).collect();
    let inherited = inheritable(&fds).map_err(|error| error.to_string())?;
    drop(fds);
    let first = inherited[0].as_raw_fd();
    let last = inherited[count].as_raw_fd();
    command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDS_FIRST_FD", first.to_string());
    command.env(READY_FD, last.to_string());
    let pid = {
        let mut process = lock(process);
        if process.given_up {
            return Err("it was killed".to_owned());
        }
        let child = command.spawn().map_err(|error| format!("cannot start it: {error}"))?;
        process.child.insert(child).id()
    };
    // The pipe then closes when the child exits.
    drop(inherited);
    match ready.read(&mut [0]) {
        Ok(1) => Ok(pid),
        _ => {
            let child = lock(process).child.take();
            let mut child = child.ok_or("cannot wait for it")?;
            // It may already have exited.
            let _ = child.kill();
            let status = child.wait().map_err(|error| error.to_string())?;
            Err(format!("it exited before it was ready ({status})"))
        }
    }
}

/// Duplicates file descriptors for a child to inherit, with consecutive numbers.
fn inheritable(fds: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
    let mut first = FD_STEP;
    'tries: loop {
        let mut copies = Vec::with_capacity(fds.len());
        for (fd, wanted) in fds.iter().zip(first..) {
            let copy = fcntl_dupfd_cloexec(fd, wanted)?;
            if copy.as_raw_fd() != wanted {
                first += FD_STEP;
                continue 'tries;
            }
            copies.push(copy);
        }
        for copy in &copies {
            fcntl_setfd(copy, FdFlags::empty())?;
        }
        return Ok(copies);
    }
}
