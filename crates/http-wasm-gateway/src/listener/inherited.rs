//! Listening sockets that somebody else has opened: systemd, or a process whose successor this one is.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

use crate::config::Address;

/// Room for connections that are not accepted yet, where no setting says how many.
const DEFAULT_BACKLOG: u32 = 1024;

/// Tells a successor which of its file descriptors to write to once it is ready.
pub(super) const READY_FD: &str = "HTTP_WASM_READY_FD";

/// The sockets that are left.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Vec<std::net::TcpListener>);

impl Inherited {
    /// Takes the sockets over that `LISTEN_FDS` tells of (sd_listen_fds(3)).
    ///
    /// # Errors
    /// When one of them is no TCP socket.
    pub(crate) fn take() -> io::Result<Self> {
        let mut fds = ListenFd::from_env();
        let sockets = (0..fds.len()).map(|index| fds.take_tcp_listener(index));
        Ok(Self(sockets.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect()))
    }

    /// The socket that listens on this address, if there is one.
    pub(super) async fn claim(&mut self, address: &Address) -> io::Result<Option<TcpListener>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let wanted: Vec<_> = lookup_host(address.as_str()).await?.collect();
        let found = self.0.iter().position(|socket| {
            let fits = |own: SocketAddr| {
                wanted.iter().any(|it| it.ip() == own.ip() && (it.port() == own.port() || it.port() == 0))
            };
            socket.local_addr().is_ok_and(fits)
        });
        let Some(found) = found else { return Ok(None) };
        let socket = self.0.remove(found);
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Some)
    }

    /// A socket for this address: one that was handed over, else a new one.
    pub(crate) async fn claim_or_bind(&mut self, address: &Address) -> io::Result<TcpListener> {
        self.claim_or_bind_with(address, DEFAULT_BACKLOG).await
    }

    /// The same, with room for so many connections that are not accepted yet if it is a new one.
    pub(super) async fn claim_or_bind_with(
        &mut self,
        address: &Address,
        backlog: u32,
    ) -> io::Result<TcpListener> {
        match self.claim(address).await? {
            Some(socket) => Ok(socket),
            None => bind(address, backlog).await,
        }
    }
}

/// Listens on the first address that the system lets it.
async fn bind(address: &Address, backlog: u32) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in lookup_host(address.as_str()).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A start right after an end finds the port still in use otherwise. On Windows the option means something else.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(backlog)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl Drop for Inherited {
    fn drop(&mut self) {
        for address in self.0.iter().filter_map(|socket| socket.local_addr().ok()) {
            tracing::warn!(%address, "closing an inherited socket that no listener is configured for");
        }
    }
}

/// Tells the process before this one, if there is one that waits for it, that this one is ready.
pub(crate) fn announce() {
    let Some(fd) = env::var(READY_FD).ok().and_then(|fd| fd.parse::<u32>().ok()) else { return };
    let pipe = OpenOptions::new().write(true).open(format!("/dev/fd/{fd}"));
    if let Err(error) = pipe.and_then(|mut pipe| pipe.write_all(b"\n")) {
        tracing::warn!(%error, "cannot notify the previous process that this one is ready");
    }
}
