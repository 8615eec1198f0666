//! The listener for operators: probes, metrics, status, reload. It serves from the moment that the process knows its
//! configuration, so that probes see guests being loaded.

mod page;
mod respond;
mod status;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::respond::respond;
use crate::config::{self, Address};
use crate::error::StartError;
use crate::listener::{Answer, Listeners};
use crate::observe::Monitor;

/// Connections at once. Operators and their tools are few; the rest of the process needs its file descriptors.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take to send a request head, and how long its connection may then lie idle.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after an accept that failed for want of something, file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin listener that there is now, which a reload may open, move and close.
#[derive(Debug, Default)]
pub(crate) struct Operators(Mutex<Option<Admin>>);

/// What comes after a reload.
pub(crate) enum Next {
    Same,
    Other(Option<Admin>),
}

impl Operators {
    pub(crate) fn new(admin: Option<Admin>) -> Self {
        Self(admin.into())
    }

    /// Opens what is asked for, unless it is there already.
    pub(crate) async fn open<A: Answer>(
        &self,
        asked: Option<(&config::Admin, Arc<Monitor>)>,
        listeners: &Listeners<A>,
    ) -> Result<Next, StartError> {
        let Some((admin, monitor)) = asked else { return Ok(Next::Other(None)) };
        if self.running().as_ref().is_some_and(|running| running.asked == *admin.address) {
            return Ok(Next::Same);
        }
        let socket = listeners.claim_or_bind(&admin.address).await;
        Admin::start(admin, monitor, socket).map(|admin| Next::Other(Some(admin)))
    }

    /// Serves this from now on. What served before finishes the requests that it has.
    pub(crate) fn commit(&self, next: Next) {
        let Next::Other(next) = next else { return };
        if let Some(admin) = &next {
            tracing::info!("status and metrics are at http://{} from now on", admin.address);
        }
        let before = std::mem::replace(&mut *self.running(), next);
        if let Some(admin) = before {
            tracing::info!("status and metrics are no longer at http://{}", admin.address);
        }
    }

    /// The address, with the port that the system chose where it was asked to.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.running().as_ref().map(Admin::address)
    }

    /// The socket that is listened on.
    pub(crate) fn socket(&self) -> Option<Arc<TcpListener>> {
        self.running().as_ref().map(|admin| admin.socket.clone())
    }

    fn running(&self) -> MutexGuard<'_, Option<Admin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The admin listener. It serves until it is dropped, and then finishes the requests that it has: one of them may have asked for
/// that.
#[derive(Debug)]
pub(crate) struct Admin {
    asked: Address,
    address: SocketAddr,
    socket: Arc<TcpListener>,
    /// What serves stops when this is dropped.
    _stop: watch::Sender<()>,
}

impl Admin {
    /// Serves on the socket for this address, or says why there is none. Within a runtime.
    pub(crate) fn start(
        admin: &config::Admin,
        monitor: Arc<Monitor>,
        socket: io::Result<TcpListener>,
    ) -> Result<Self, StartError> {
        let refused =
            |source| StartError::Listen { address: format!("{} for [admin]", *admin.address), source };
        let socket = Arc::new(socket.map_err(refused)?);
        let address = socket.local_addr().map_err(refused)?;
        let (stop, stopped) = watch::channel(());
        tokio::spawn(serve_all(socket.clone(), monitor, stopped));
        Ok(Self { asked: admin.address.value.clone(), address, socket, _stop: stop })
    }

    /// The address, with the port that the system chose where it was asked to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve_all(listener: Arc<TcpListener>, monitor: Arc<Monitor>, mut stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    let stop = stopped.clone();
    tokio::select! {
        // Its sender can only be dropped.
        _ = stopped.changed() => {}
        () = accept_all(&listener, &monitor, &stop, &mut connections) => {}
    }
    drop(listener);
    connections.join_all().await;
}

async fn accept_all(
    listener: &TcpListener,
    monitor: &Arc<Monitor>,
    stopped: &watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) {
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(serve(stream, monitor.clone(), stopped.clone()))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections to the admin listener; trying again shortly");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, monitor: Arc<Monitor>, mut stopped: watch::Receiver<()>) {
    let service = service_fn(|request| {
        let monitor = monitor.clone();
        async move { Ok::<_, Infallible>(respond(&request, &monitor).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection to the admin listener ended");
    }
}
