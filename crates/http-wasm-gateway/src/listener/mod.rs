//! Where clients come in: HTTP/1.1 and HTTP/2 (prior knowledge) on each address, with a graceful end.

mod activity;
mod body;
mod check;
mod connection;
mod framing;
mod request;
mod set;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use self::connection::Connections;
use crate::body::BoxBody;
use crate::config::{ClientLimits, Listen, ListenHttp, ProxyProtocol};
use crate::error::StartError;

pub(crate) use self::set::Listeners;

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

/// An address that is listened on, and how.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Arc<TcpListener>,
    http: ListenHttp,
    limits: Arc<ClientLimits>,
}

impl Listener {
    /// Listens as it is asked to, on `socket` if there is one already.
    pub(crate) async fn open(listen: &Listen, socket: Option<Arc<TcpListener>>) -> Result<Self, StartError> {
        let address = &listen.address;
        let unsupported =
            [(listen.tls.is_some(), "tls"), (listen.proxy_protocol != ProxyProtocol::Off, "proxy_protocol")];
        if let Some((_, setting)) = unsupported.into_iter().find(|(used, _)| *used) {
            return Err(StartError::System(format!("{}: `{setting}` can't be served yet", address.value)));
        }
        let socket = match socket {
            Some(socket) => socket,
            None => match TcpListener::bind(address.as_str()).await {
                Ok(socket) => Arc::new(socket),
                Err(source) => return Err(StartError::Listen { address: address.to_string(), source }),
            },
        };
        Ok(Self { socket, http: listen.http, limits: Arc::new(listen.limits.clone()) })
    }

    /// Serves until `stop` ends; then accepts no more, and lets running requests finish. Upgraded connections are no requests any
    /// more: they end with the process.
    pub(crate) async fn serve(self, answer: Arc<impl Answer>, stop: impl Future<Output = ()>) {
        let (close, closing) = watch::channel(false);
        tokio::select! {
            () = stop => {}
            () = self.accept_all(answer, closing) => {}
        }
        close.send_replace(true);
        close.closed().await;
    }

    /// Accepts connections for as long as it is polled. When there are as many as there may be, others wait with the system.
    async fn accept_all(self, answer: Arc<impl Answer>, closing: watch::Receiver<bool>) {
        let Self { socket, http, limits } = self;
        let places = Arc::new(Semaphore::new(limits.max_connections.get() as usize));
        let connections = Connections { answer, http, limits, closing };
        while let Ok(place) = places.clone().acquire_owned().await {
            let (stream, peer) = accept(&socket).await;
            let client = Client { addr: peer, tls: false };
            let connection = connections.clone().serve(stream, client, Instant::now(), place);
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
