//! Where clients come in: HTTP/1.1 and HTTP/2 on each address, over TLS or not, with a graceful end.

mod activity;
mod body;
mod check;
mod connection;
mod framing;
mod inherited;
mod request;
mod source;
#[cfg(unix)]
mod successor;
mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use self::connection::Connections;
use self::inherited::Inherited;
use self::source::Sources;
#[cfg(unix)]
use self::successor::Successor;
use self::tls::{AllCertificates, Tls};
use crate::body::BoxBody;
use crate::config::{ClientLimits, Listen, ListenEntry, ListenHttp, Located};
use crate::error::{StartError, plain};
use crate::signals::Signals;

/// Pause after an accept that failed for want of something, file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who sent a request, and how. In its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
    /// Whether the request came over TLS.
    pub(crate) tls: bool,
}

/// What answers requests.
pub(crate) trait Answer: Send + Sync + 'static {
    /// The response to a request.
    fn answer(
        self: Arc<Self>,
        request: Request<BoxBody>,
        client: Client,
    ) -> impl Future<Output = Response<BoxBody>> + Send;
}

/// Addresses that are listened on, whose connections nobody has accepted yet.
#[derive(Debug)]
pub(crate) struct Listeners {
    listeners: Vec<Listener>,
    #[cfg(unix)]
    successor: Successor,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    /// As it was configured.
    address: String,
    tls: Option<Tls>,
    http: ListenHttp,
    limits: Arc<ClientLimits>,
    sources: Arc<Sources>,
}

/// An address that is listened on. Shown as the URL of a client.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// With the port that the system chose if it was asked to.
    pub addr: SocketAddr,
    /// Whether TLS is spoken.
    pub tls: bool,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.addr)
    }
}

impl Listeners {
    /// Binds all addresses, or none. Sockets that were handed to this process are used where they fit.
    pub(crate) async fn bind(listen: &[Located<ListenEntry>]) -> Result<Self, StartError> {
        let mut inherited = Inherited::take()
            .map_err(|error| StartError::System(format!("LISTEN_FDS: {}", plain(&error))))?;
        let mut bound = Vec::with_capacity(listen.len());
        for listen in listen {
            bound.push(Listener::bind(listen, &mut inherited).await?);
        }
        #[cfg(unix)]
        let successor = Successor::new(bound.iter().map(|listener| &listener.socket)).map_err(|error| {
            StartError::System(format!("cannot prepare for a successor: {}", plain(&error)))
        })?;
        Ok(Self {
            listeners: bound,
            #[cfg(unix)]
            successor,
        })
    }

    /// The addresses.
    pub(crate) fn addresses(&self) -> io::Result<Vec<Bound>> {
        let bound = |listener: &Listener| {
            Ok(Bound { addr: listener.socket.local_addr()?, tls: listener.tls.is_some() })
        };
        self.listeners.iter().map(bound).collect()
    }

    /// The certificates, to be replaced while the listeners serve.
    pub(crate) fn certificates(&self) -> AllCertificates {
        let with_tls = self
            .listeners
            .iter()
            .filter_map(|listener| Some((listener.address.clone(), listener.tls.as_ref()?.certificates())));
        AllCertificates(with_tls.collect())
    }

    /// Serves until a signal comes, or a successor serves in its place; then accepts no more and lets running requests finish, for `limit` at
    /// most or until a second signal comes. Upgraded connections are no requests any more: they end with the process.
    pub(crate) async fn serve(self, answer: Arc<impl Answer>, mut signals: Signals, limit: Duration) {
        let (stop, closing) = watch::channel(false);
        let certificates = self.certificates();
        inherited::announce();
        {
            // It has sockets of its own, and goes with the listeners: once the last is closed, connections are refused.
            #[cfg(unix)]
            let mut successor = self.successor;
            #[cfg(unix)]
            let succeeded = successor.ready();
            #[cfg(not(unix))]
            let succeeded = std::future::pending();
            let accepting = self.listeners.into_iter();
            let accepting = accepting.map(|listener| listener.accept_all(answer.clone(), closing.clone()));
            tokio::select! {
                () = signals.recv() => {}
                () = succeeded => {}
                _ = join_all(accepting) => {}
                () = certificates.watch() => {}
            }
        }
        drop(closing);
        drain(stop, signals, limit).await;
    }
}

impl Listener {
    async fn bind(listen: &Listen, inherited: &mut Inherited) -> Result<Self, StartError> {
        let address = &listen.address;
        let tls = listen.tls.as_ref().map(|tls| Tls::new(tls, listen.http)).transpose();
        let tls = tls.map_err(|reason| StartError::System(format!("{}: {reason}", address.value)))?;
        let socket = match inherited.claim(address).await {
            Ok(None) => TcpListener::bind(address.as_str()).await,
            claimed => claimed.and_then(|socket| socket.ok_or_else(|| io::ErrorKind::NotFound.into())),
        };
        let socket = socket.map_err(|source| StartError::Listen { address: address.to_string(), source })?;
        let limits = Arc::new(listen.limits.clone());
        let sources =
            Sources { trusted: listen.trusted_proxies.clone(), proxy_protocol: listen.proxy_protocol };
        let sources = Arc::new(sources);
        Ok(Self { socket, address: address.to_string(), tls, http: listen.http, limits, sources })
    }

    /// Accepts connections for as long as it is polled. When there are as many as there may be, others wait with the system.
    async fn accept_all(self, answer: Arc<impl Answer>, closing: watch::Receiver<bool>) {
        let Self { socket, tls, http, limits, sources, .. } = self;
        let places = Arc::new(Semaphore::new(limits.max_connections.get() as usize));
        let connections = Connections { answer, tls, http, limits, sources, closing };
        while let Ok(place) = places.clone().acquire_owned().await {
            let (stream, peer) = accept(&socket).await;
            let connection = connections.clone().serve(stream, peer, Instant::now(), place);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%peer, error, "connection ended");
                }
            });
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without it small writes wait for acknowledgements; a socket that refuses it still works.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) if concerns_one_client(&error) => {
                tracing::debug!(%error, "a client left before it was accepted")
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; trying again shortly");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn drain(stop: watch::Sender<bool>, mut signals: Signals, limit: Duration) {
    tracing::info!("stopping: no new connections, running requests finish");
    stop.send_replace(true);
    tokio::select! {
        () = stop.closed() => tracing::info!("stopped"),
        () = tokio::time::sleep(limit) => tracing::warn!(?limit, "stopped; requests that took too long were cut off"),
        () = signals.recv() => tracing::warn!("stopped by a second signal; running requests were cut off"),
    }
}
