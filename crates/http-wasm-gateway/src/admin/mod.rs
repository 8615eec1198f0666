//! The admin listener: probes, metrics, status, reload. It serves as soon as the process knows its configuration, so
//! that probes can observe how guests are loaded.

mod connections;
mod host;
mod page;
mod respond;
mod shared;
mod status;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;

use self::connections::Connections;
use self::shared::Shared;
use crate::accept::{accept, keep_alive};
use crate::config::{self, Address, HostPattern, Located};
use crate::error::StartError;
use crate::exchange::Answer;
use crate::listener::Listeners;
use crate::observe::Monitor;

pub use self::page::STATUS_PAGE_STYLE;

/// The current admin listener, which a reload may open, move and close.
#[derive(Debug, Default)]
pub(crate) struct AdminListener(Mutex<Option<Admin>>);

/// The admin listener after a reload.
pub(crate) enum Next {
    /// The same listener, with these host names from now on.
    Same(Vec<Located<HostPattern>>),
    Other(Option<Admin>),
}

impl AdminListener {
    pub(crate) fn new(admin: Option<Admin>) -> Self {
        Self(admin.into())
    }

    /// Opens the configured listener, unless it is already open.
    pub(crate) async fn open<A: Answer>(
        &self,
        wanted: Option<(&config::Admin, Arc<Monitor>)>,
        listeners: &Listeners<A>,
    ) -> Result<Next, StartError> {
        let Some((admin, monitor)) = wanted else { return Ok(Next::Other(None)) };
        if self.running().as_ref().is_some_and(|running| running.configured_address == *admin.address) {
            return Ok(Next::Same(admin.hosts.clone()));
        }
        let socket = listeners.claim_or_bind(&admin.address).await;
        Admin::start(admin, monitor, socket).map(|admin| Next::Other(Some(admin)))
    }

    /// Switches to this listener. The previous one finishes its requests.
    pub(crate) fn commit(&self, next: Next) {
        let next = match next {
            Next::Same(hosts) => {
                if let Some(admin) = &*self.running() {
                    admin.shared.hosts.store(Arc::new(hosts));
                }
                return;
            }
            Next::Other(next) => next,
        };
        if let Some(admin) = &next {
            tracing::info!("status and metrics are now available at http://{}", admin.address);
        }
        let before = std::mem::replace(&mut *self.running(), next);
        if let Some(admin) = before {
            tracing::info!("status and metrics are no longer available at http://{}", admin.address);
        }
    }

    /// The address, with the port that the system chose if the port was 0.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.running().as_ref().map(Admin::address)
    }

    /// The listening socket.
    pub(crate) fn socket(&self) -> Option<Arc<TcpListener>> {
        self.running().as_ref().map(|admin| admin.socket.clone())
    }

    fn running(&self) -> MutexGuard<'_, Option<Admin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The admin listener. It serves until it is dropped, and then finishes its requests, since one of them may be the
/// reason.
#[derive(Debug)]
pub(crate) struct Admin {
    configured_address: Address,
    address: SocketAddr,
    socket: Arc<TcpListener>,
    shared: Arc<Shared>,
    /// Dropping this stops the listener.
    _stop: watch::Sender<()>,
}

impl Admin {
    /// Serves on the socket for this address, or returns why there is none. Must be called within a runtime.
    pub(crate) fn start(
        admin: &config::Admin,
        monitor: Arc<Monitor>,
        socket: io::Result<TcpListener>,
    ) -> Result<Self, StartError> {
        let refused =
            |source| StartError::Listen { address: format!("{} for [admin]", *admin.address), source };
        let socket = Arc::new(socket.map_err(refused)?);
        let address = socket.local_addr().map_err(refused)?;
        keep_alive(&socket);
        let (stop, stopped) = watch::channel(());
        let shared = Shared::new(monitor, admin.hosts.clone());
        tokio::spawn(serve_all(socket.clone(), shared.clone(), stopped));
        Ok(Self { configured_address: admin.address.value.clone(), address, socket, shared, _stop: stop })
    }

    /// The address, with the port that the system chose if the port was 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve_all(listener: Arc<TcpListener>, shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    let mut connections = Connections::default();
    let stop = stopped.clone();
    tokio::select! {
        // The sender can only be dropped.
        _ = stopped.changed() => {}
        () = accept_all(&listener, &shared, &stop, &mut connections) => {}
    }
    drop(listener);
    connections.finish().await;
}

async fn accept_all(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    stopped: &watch::Receiver<()>,
    connections: &mut Connections,
) {
    loop {
        let (stream, _) = accept(listener).await;
        connections.add(stream, shared.clone(), stopped.clone()).await;
    }
}
