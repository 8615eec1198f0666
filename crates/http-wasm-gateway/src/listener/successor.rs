//! A successor: on SIGUSR2 the same program is started with the same arguments, and inherits the listening sockets.
//! Connections that haven't been accepted wait in the sockets, so none is refused, whichever process accepts them.

use std::io::{self, Read as _, pipe};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::process::Command;
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::inherited::READY_FD;

/// The step between the numbers that are tried as the first inherited one.
const FD_STEP: i32 = 64;

/// Waits for the signal to start a successor.
#[derive(Debug)]
pub(crate) struct Successor {
    signal: Signal,
}

impl Successor {
    /// Overrides the signal's default, which is to terminate the process at once.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self { signal: signal(SignalKind::user_defined2())? })
    }

    /// Completes when a successor is ready to serve.
    pub(crate) async fn ready(&mut self, sockets: impl Fn() -> Vec<Arc<TcpListener>>) {
        while self.signal.recv().await.is_some() {
            tracing::info!("starting a successor");
            match begin(&sockets()).await {
                Ok(pid) => return tracing::info!(pid, "the successor is ready"),
                Err(reason) => {
                    tracing::error!(reason, "the successor failed to start; this process carries on")
                }
            }
        }
        std::future::pending().await
    }
}

/// Starts a successor with these sockets, and waits until it is ready.
async fn begin(sockets: &[Arc<TcpListener>]) -> Result<u32, String> {
    let words = |error: io::Error| error.to_string();
    let sockets = sockets.iter().map(|socket| socket.as_fd().try_clone_to_owned());
    let sockets = sockets.collect::<io::Result<_>>().map_err(words)?;
    let (tell, told) = oneshot::channel();
    // Not a task: one that waits for a child that never gets ready would delay the exit of this process.
    let thread = std::thread::Builder::new().name("successor".to_owned());
    // The receiver may be gone, as this process may have been stopped in the meantime.
    let thread = thread.spawn(move || tell.send(start(sockets)).ok()).map_err(words)?;
    drop(thread);
    told.await.map_err(|_| "cannot wait for it".to_owned())?
}

/// Starts the program, and waits until it is ready.
fn start(sockets: Vec<OwnedFd>) -> Result<u32, String> {
    let (mut ready, writer) = pipe().map_err(|error| error.to_string())?;
    // By the name that it was called by, since that may be another file by now.
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
    let mut child = command.spawn().map_err(|error| format!("cannot start it: {error}"))?;
    // So that the pipe ends with the child.
    drop(inherited);
    match ready.read(&mut [0]) {
        Ok(1) => Ok(child.id()),
        _ => {
            // It may have exited already.
            let _ = child.kill();
            let status = child.wait().map_err(|error| error.to_string())?;
            Err(format!("it exited before it was ready ({status})"))
        }
    }
}

/// The same as file descriptors that a child inherits, with consecutive numbers.
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
