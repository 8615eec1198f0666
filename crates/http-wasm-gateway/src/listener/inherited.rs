//! Listening sockets that were opened by another process: systemd, or this process's predecessor.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

use crate::config::Address;

/// The length of the accept queue by default.
const DEFAULT_BACKLOG: u32 = 1024;

/// The variable with the file descriptor to which a successor writes once it is ready.
pub(super) const READY_FD: &str = "HTTP_WASM_READY_FD";

/// The remaining sockets.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Vec<std::net::TcpListener>);

impl Inherited {
    /// Takes the sockets listed in `LISTEN_FDS` (sd_listen_fds(3)).
    ///
    /// # Errors
    /// If one of them isn't a TCP socket.
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

    /// A socket for this address: an inherited one, or else a new one.
    pub(crate) async fn claim_or_bind(&mut self, address: &Address) -> io::Result<TcpListener> {
        self.claim_or_bind_with(address, DEFAULT_BACKLOG).await
    }

    /// Like [`claim_or_bind`](Self::claim_or_bind), with an accept queue of this length if the socket is new.
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

/// Listens on the first address that the system allows.
async fn bind(address: &Address, backlog: u32) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in lookup_host(address.as_str()).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Otherwise, a restart finds the port still in use. On Windows, the option means something else.
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

/// Notifies the previous process, if it is waiting, that this one is ready.
pub(crate) fn announce() {
    let Some(fd) = env::var(READY_FD).ok().and_then(|fd| fd.parse::<u32>().ok()) else { return };
    let pipe = OpenOptions::new().write(true).open(format!("/dev/fd/{fd}"));
    if let Err(error) = pipe.and_then(|mut pipe| pipe.write_all(b"\n")) {
        tracing::warn!(%error, "cannot notify the previous process that this one is ready");
    }
}
