//! Where clients come in: HTTP/1.1 and HTTP/2 (prior knowledge) on each address, with a graceful end.

mod set;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};

use crate::body::{BoxBody, boxed};
use crate::config::{Listen, ListenHttp, ProxyProtocol};
use crate::error::StartError;

pub(crate) use self::set::Listeners;

/// How long a client may take to send a request head, and how long its connection may then lie idle in HTTP/1.1.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest list of header fields taken over HTTP/2; hyper's own 16 KiB is less than what its HTTP/1.1 takes.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;

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
}

impl Listener {
    /// Listens as it is asked to, on `socket` if there is one already.
    pub(crate) async fn open(listen: &Listen, socket: Option<Arc<TcpListener>>) -> Result<Self, StartError> {
        let address = &listen.address;
        let unsupported = [
            (listen.tls.is_some(), "tls"),
            (listen.proxy_protocol != ProxyProtocol::Off, "proxy_protocol"),
            (listen.http != ListenHttp::Auto, "http"),
        ];
        if let Some((_, setting)) = unsupported.into_iter().find(|(used, _)| *used) {
            return Err(StartError::System(format!("{}: `{setting}` can't be served yet", address.value)));
        }
        if let Some(socket) = socket {
            return Ok(Self { socket });
        }
        match TcpListener::bind(address.as_str()).await {
            Ok(socket) => Ok(Self { socket: Arc::new(socket) }),
            Err(source) => Err(StartError::Listen { address: address.to_string(), source }),
        }
    }

    /// Serves until `stop` ends; then accepts no more, and lets running requests finish. Upgraded connections are no requests any
    /// more: they end with the process.
    pub(crate) async fn serve(self, answer: Arc<impl Answer>, stop: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        tokio::select! {
            () = stop => {}
            () = accept_all(&self.socket, answer, &graceful) => {}
        }
        drop(self);
        graceful.shutdown().await;
    }
}

/// Accepts connections for as long as it is polled.
async fn accept_all(listener: &TcpListener, answer: Arc<impl Answer>, graceful: &GracefulShutdown) {
    let builder = builder();
    loop {
        let (stream, peer) = accept(listener).await;
        let first = Arc::new(AtomicBool::new(false));
        let (seen, answer) = (first.clone(), answer.clone());
        let handler = service_fn(move |request: Request<Incoming>| {
            seen.store(true, Ordering::Relaxed);
            let (answer, head) = (answer.clone(), request.method() == Method::HEAD);
            let client = Client { addr: peer, tls: false };
            async move {
                Ok::<_, Infallible>(without_body_if(head, answer.answer(request.map(boxed), client).await))
            }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), handler).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let result = tokio::select! {
                result = pin!(connection) => result,
                () = silent(&first) => Err("no request in time".into()),
            };
            if let Err(error) = result {
                tracing::debug!(%peer, error, "connection ended");
            }
        });
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(MAX_HEADER_LIST_BYTES);
    builder
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

/// Ends when no request came in time. hyper's own timeout begins only once it knows the protocol's version, so a client
/// that sends nothing at all would stay.
async fn silent(seen: &AtomicBool) {
    tokio::time::sleep(HEADER_READ_TIMEOUT).await;
    if seen.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

/// Answers to HEAD have no body; hyper sees to that in HTTP/1.1 but not in HTTP/2.
fn without_body_if<B: Body<Data = Bytes>>(
    head: bool,
    response: Response<B>,
) -> Response<Either<B, Empty<Bytes>>> {
    if !head {
        return response.map(Either::Left);
    }
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_| Either::Right(Empty::new()));
    // A length of 0 says nothing: the handler may have left the body out itself.
    if let Some(length) = length.filter(|&length| length > 0)
        && !response.headers().contains_key(header::TRANSFER_ENCODING)
    {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    response
}
