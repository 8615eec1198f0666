//! The listener for operators: probes, metrics, status, reload. It serves from the moment that the process knows its
//! configuration, so that probes see guests being loaded.

mod page;
mod respond;
mod status;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::respond::respond;
use crate::config;
use crate::error::StartError;
use crate::listener::Inherited;
use crate::observe::Monitor;

/// Connections at once. Operators and their tools are few; the rest of the process needs its file descriptors.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take to send a request head, and how long its connection may then lie idle.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after an accept that failed for want of something, file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin listener. It serves until it is dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    pub(crate) socket: Arc<TcpListener>,
    _serving: JoinSet<()>,
}

impl Admin {
    /// Binds the address and serves.
    pub(crate) async fn start(
        admin: &config::Admin,
        monitor: Arc<Monitor>,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        let refused = |source| StartError::Listen { address: admin.address.to_string(), source };
        let socket = Arc::new(inherited.claim_or_bind(&admin.address).await.map_err(refused)?);
        let address = socket.local_addr().map_err(refused)?;
        let mut serving = JoinSet::new();
        serving.spawn(accept_all(socket.clone(), monitor));
        Ok(Self { address, socket, _serving: serving })
    }

    /// The address, with the port that the system chose where it was asked to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept_all(listener: Arc<TcpListener>, monitor: Arc<Monitor>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(serve(stream, monitor.clone()))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections to the admin listener; trying again shortly");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, monitor: Arc<Monitor>) {
    let service = service_fn(|request| {
        let monitor = monitor.clone();
        async move { Ok::<_, Infallible>(respond(&request, &monitor).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "connection to the admin listener ended");
    }
}
