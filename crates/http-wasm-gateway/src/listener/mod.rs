//! Listeners: HTTP/1.1 and HTTP/2 on each address, with or without TLS, and with graceful shutdown.

mod activity;
mod body;
mod certificates;
mod check;
mod connection;
mod date;
mod flush;
mod forwarded;
mod http1;
mod http2;
mod inherited;
mod linger;
mod outgoing;
mod refusals;
mod refused;
mod request;
mod seldom;
mod set;
mod status;
mod subject_addresses;
#[cfg(unix)]
mod successor;
mod tls;
mod trusted_proxies;
mod upload;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::connection::Connections;
use self::refusals::Refusals;
use self::status::Permits;
use self::tls::Tls;
use self::trusted_proxies::TrustedProxies;
use crate::accept::{accept, keep_alive};
use crate::blocking::blocking;
use crate::config::{ClientLimits, Listen, ListenHttp};
use crate::descriptors::{self, Descriptors};
use crate::error::StartError;
use crate::exchange::{Answer, aborted};

pub(crate) use self::inherited::{Inherited, announce};
pub(crate) use self::set::Listeners;
pub(crate) use self::status::ListenerStatus;
#[cfg(unix)]
pub(crate) use self::successor::Successor;

/// How long HTTP/2 clients may take to read that their streams were reset, when everything is aborted.
const RESET_TIMEOUT: Duration = Duration::from_millis(500);

/// An address to listen on, with its settings.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Arc<TcpListener>,
    tls: Option<Tls>,
    http: ListenHttp,
    limits: Arc<ClientLimits>,
    trusted_proxies: Arc<TrustedProxies>,
    permits: Permits,
}

/// An address that is listened on. It displays as the URL for clients.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// With the port that the system chose if the port was 0.
    pub addr: SocketAddr,
    /// Whether it uses TLS.
    pub tls: bool,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.addr)
    }
}

impl Listener {
    /// Listens on `socket` if there is one, otherwise on a matching inherited socket or a new one.
    pub(crate) async fn open(
        listen: &Listen,
        socket: Option<Arc<TcpListener>>,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        let address = &listen.address;
        let tls = match listen.tls.clone() {
            Some(tls) => {
                let (address, http) = (address.value.to_string(), listen.http);
                let tls = blocking(move || {
                    Tls::new(&address, &tls, http).map_err(|reason| format!("{address}: {reason}"))
                });
                Some(tls.await?.map_err(StartError::System)?)
            }
            None => None,
        };
        let socket = match socket {
            Some(socket) => socket,
            None => {
                let socket = inherited.claim_or_bind_with(address, listen.limits.backlog.get()).await;
                Arc::new(
                    socket.map_err(|source| StartError::Listen { address: address.to_string(), source })?,
                )
            }
        };
        keep_alive(&socket);
        let limits = Arc::new(listen.limits.clone());
        let trusted_proxies = Arc::new(TrustedProxies::new(listen));
        let permits = Permits::new(limits.max_connections);
        Ok(Self { socket, tls, http: listen.http, limits, trusted_proxies, permits })
    }

    /// Serves until `stop` completes. Then it accepts no more connections, and lets requests in flight and tunnels
    /// finish, until `abort` aborts them.
    pub(crate) async fn serve(
        self,
        answer: Arc<impl Answer>,
        stop: impl Future<Output = ()>,
        mut abort: watch::Receiver<bool>,
    ) {
        let (close, closing) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::select! {
            () = stop => {}
            () = self.accept_all(answer, closing, abort.clone(), &mut connections) => {}
        }
        close.send_replace(true);
        tokio::select! {
            () = close.closed() => {}
            () = aborted(&mut abort) => {
                // HTTP/2 clients learn from resets that their responses aren't complete.
                let _ = timeout(RESET_TIMEOUT, close.closed()).await;
                connections.shutdown().await;
                // Tasks that they have spawned end with them.
                close.closed().await;
            }
        }
    }

    /// Accepts connections while it is polled. At the maximum, further connections wait in the system's queue. If file
    /// descriptors run short, clients get 503.
    async fn accept_all(
        self,
        answer: Arc<impl Answer>,
        closing: watch::Receiver<bool>,
        abort: watch::Receiver<bool>,
        tasks: &mut JoinSet<()>,
    ) {
        let Self { socket, tls, http, limits, trusted_proxies, permits } = self;
        let descriptors = Descriptors::of_process();
        let connections =
            Connections { answer, tls, http, limits, trusted_proxies, closing, abort, refuse: false };
        let (refusing, mut refusals) = (connections.refusing(), Refusals::default());
        while let Some(permit) = permits.acquire().await {
            let (stream, peer) = accept(&socket).await;
            permits.accepted();
            let peer = forwarded::canonical(peer);
            let refuse = !descriptors.admits_client(descriptors::number(&stream));
            if refuse && refusals.make_room() {
                tracing::warn!("too few file descriptors: answering client connections with 503");
            }
            let connections = if refuse { refusing.clone() } else { connections.clone() };
            let accepted = Instant::now();
            while tasks.try_join_next().is_some() {}
            let task = tasks.spawn(async move {
                if let Err(error) = connections.serve(stream, peer, accepted, permit).await {
                    tracing::debug!(%peer, error, "connection ended");
                }
            });
            if refuse {
                refusals.add(task);
            }
        }
    }
}
