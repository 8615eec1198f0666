//! Connections to one address of an upstream, and the requests on them.
//!
//! Neither version goes through hyper's client. For HTTP/1.1 it would read heads a second time behind the strict
//! reader, and hand requests and bodies to a task of its own through channels. For HTTP/2 it hides the server's limit
//! of streams, decides itself when PINGs are sent, and lets a request that waits for a stream hold up the ones behind
//! it.

mod body;
mod error;
mod http1;
mod http2;
mod limits;
mod wire;

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use http_body::Body as _;
use tokio::time::{Instant, sleep_until, timeout};
use tower::ServiceExt as _;

pub(super) use self::body::ResponseBody;
pub(super) use self::error::{SendError, SendErrorKind};
use self::http1::IdleConnections;
pub(super) use self::http1::Tunnel;
use self::http2::Acquired;
use super::connect::{Connected, Connectors};
use super::patience::{Clock, Timed};
use super::replay::Replayed;
use crate::body::BoxError;
use crate::config::{Upstream, UpstreamHttp};
use crate::exchange::Interims;
use crate::upstream_url::UpstreamUrl;

/// The body of a request on its way to an upstream.
pub(super) type RequestBody = Timed<Replayed>;

/// The connections to one address. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Pool(Arc<Shared>);

/// What connections go by.
#[derive(Debug, Clone)]
struct Settings {
    connect_timeout: Duration,
    idle_timeout: Duration,
    max_idle: usize,
    max_http2_connections: usize,
    stream_window: u32,
    ping_interval: Option<Duration>,
    ping_timeout: Duration,
    max_response_head: usize,
    max_response_fields: usize,
    max_request_head: usize,
    max_request_field: usize,
}

#[derive(Debug)]
struct Shared {
    uri: Uri,
    /// The `Host` of requests that have none.
    host: HeaderValue,
    connectors: Connectors,
    settings: Settings,
    /// What the server speaks: settled from the start, or by the first TLS handshake.
    protocol: AtomicU8,
    http1: Mutex<IdleConnections>,
    http2: http2::Connections,
    /// Informational responses that were dropped.
    informational: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Unknown,
    Http1,
    Http2,
}

/// A request on its way to an upstream. `Host` and `:authority` are the upstream's unless `headers` have a `Host`.
#[derive(Debug)]
pub(super) struct Outbound<'a> {
    pub(super) method: &'a Method,
    pub(super) target: PathAndQuery,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: RequestBody,
}

/// How a request is to be sent.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    /// Whether it must be in HTTP/1.1.
    pub(super) http1: bool,
    /// Whether it must be on a connection that nothing was sent on yet, as far as HTTP/1.1 is concerned.
    pub(super) fresh: bool,
    /// The HTTP/2 connection that it must not be sent on if there can be another.
    pub(super) avoid: Option<u64>,
    /// Whose turn it is, as the request's body notes it.
    pub(super) clock: &'a Clock,
    /// How long it may be the upstream's turn.
    pub(super) response_timeout: Duration,
    /// How long it may wait for a stream; absent, as long as for a connection.
    pub(super) queue_timeout: Option<Duration>,
    /// Where informational responses go.
    pub(super) interims: Option<&'a Interims>,
}

impl Pool {
    pub(super) fn new(url: &UpstreamUrl, connectors: &Connectors, upstream: &Upstream) -> Self {
        let uri = url.uri(PathAndQuery::from_static("/"));
        let protocol = match connectors.http {
            UpstreamHttp::Http2 => Protocol::Http2,
            UpstreamHttp::Auto => Protocol::Unknown,
            UpstreamHttp::Http1 => Protocol::Http1,
        };
        Self(Arc::new(Shared {
            host: host(&uri),
            uri,
            connectors: connectors.clone(),
            settings: Settings::new(upstream),
            protocol: AtomicU8::new(protocol as u8),
            http1: Mutex::default(),
            http2: http2::Connections::default(),
            informational: AtomicU64::new(0),
        }))
    }

    /// Sends a request, and waits for the head of the response.
    pub(super) async fn send(
        &self,
        request: Outbound<'_>,
        sending: &Sending<'_>,
    ) -> Result<Response<ResponseBody>, SendError> {
        let shared = &self.0;
        loop {
            if !sending.http1 && shared.protocol() != Protocol::Http1 {
                let uploads = !request.body.is_end_stream();
                let acquired = shared.http2.acquire(shared, sending.avoid, uploads, sending.queue_timeout);
                if let Acquired::Stream(slot) = acquired.await? {
                    let sent = http2::send(slot, request, sending);
                    return sent.await.map(|response| response.map(ResponseBody::Http2));
                }
            }
            let idle = if sending.fresh { None } else { shared.http1().take() };
            let reused = idle.is_some();
            let connection = match idle {
                Some(connection) => connection,
                // It may turn out to be of the other version.
                None => match shared.connect_http1(sending.http1).await {
                    Ok(Some(connection)) => connection,
                    Ok(None) => continue,
                    Err(error) => return Err(SendError::new(SendErrorKind::of_connect(&*error), error)),
                },
            };
            let sent = http1::send(connection, reused, request, shared, sending);
            return sent.await.map(|response| response.map(ResponseBody::Http1));
        }
    }

    /// Whether requests wait for others to end, so that one that isn't answered says nothing about the upstream.
    pub(super) fn is_saturated(&self) -> bool {
        self.0.http2.is_saturated()
    }

    /// Informational responses that were dropped, ever.
    pub(super) fn informational(&self) -> u64 {
        self.0.informational.load(Ordering::Relaxed)
    }

    /// Closes connections that have been idle for too long, for as long as the upstream is there.
    pub(super) fn sweep(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::downgrade(&self.0);
        sweep(shared, self.0.settings.idle_timeout)
    }
}

async fn sweep(shared: Weak<Shared>, idle_timeout: Duration) {
    loop {
        let Some(next) = shared.upgrade().map(|shared| shared.http1().sweep(idle_timeout)) else { return };
        sleep_until(next.unwrap_or_else(|| Instant::now() + http1::LOOK_INTERVAL)).await;
    }
}

/// The `Host` of a URI: its host, and its port unless it is the scheme's own.
fn host(uri: &Uri) -> HeaderValue {
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().filter(|&port| port != default));
    let host = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    HeaderValue::from_str(&host).unwrap_or_else(|_| HeaderValue::from_static(""))
}

impl Settings {
    fn new(upstream: &Upstream) -> Self {
        Self {
            connect_timeout: upstream.connect_timeout.0,
            idle_timeout: upstream.idle_timeout.0,
            max_idle: upstream.max_idle.get() as usize,
            max_http2_connections: upstream.max_http2_connections.get() as usize,
            stream_window: u32::try_from(upstream.stream_window.0).unwrap_or(u32::MAX),
            ping_interval: upstream.ping_interval.0,
            ping_timeout: upstream.ping_timeout.0,
            max_response_head: upstream.max_response_header_size.bytes(),
            max_response_fields: upstream.max_response_headers.get() as usize,
            max_request_head: upstream.max_request_header_size.bytes(),
            max_request_field: upstream.max_request_field_size.bytes(),
        }
    }
}

impl Shared {
    fn protocol(&self) -> Protocol {
        match self.protocol.load(Ordering::Relaxed) {
            protocol if protocol == Protocol::Http1 as u8 => Protocol::Http1,
            protocol if protocol == Protocol::Http2 as u8 => Protocol::Http2,
            _ => Protocol::Unknown,
        }
    }

    fn learn(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Ordering::Relaxed);
    }

    /// Whether the TLS handshake decides which version is spoken.
    fn negotiates(&self) -> bool {
        self.connectors.http == UpstreamHttp::Auto
    }

    /// Passes an informational response on, or counts it as dropped.
    fn inform(&self, to: Option<&Interims>, status: StatusCode, headers: HeaderMap) {
        // Clients get 100 from the listener, when the body is read.
        if status != StatusCode::CONTINUE && !to.is_some_and(|to| to.send(status, headers)) {
            self.informational.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn http1(&self) -> MutexGuard<'_, IdleConnections> {
        self.http1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_idle(&self, connection: http1::Idle) {
        self.http1().put(connection, self.settings.max_idle);
    }

    /// A new HTTP/1.1 connection, or `None` if the server chose HTTP/2, of which the connection is at hand then.
    async fn connect_http1(self: &Arc<Self>, http1: bool) -> Result<Option<http1::Idle>, BoxError> {
        self.within_connect_timeout(async {
            let connected = self.open(http1).await?;
            if connected.negotiated_http2 {
                self.learn(Protocol::Http2);
                self.http2.adopt(self, connected.io).await?;
                return Ok(None);
            }
            Ok(Some(http1::open(connected.io, self)))
        })
        .await
    }

    async fn open(&self, http1: bool) -> Result<Connected, BoxError> {
        let connector = if http1 { &self.connectors.http1 } else { &self.connectors.any };
        connector.clone().oneshot(self.uri.clone()).await
    }

    async fn within_connect_timeout<T>(
        &self,
        connecting: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        let limit = self.settings.connect_timeout;
        match timeout(limit, connecting).await {
            Ok(result) => result,
            Err(_) => {
                let message = format!("no connection within {}", humantime::format_duration(limit));
                Err(io::Error::new(io::ErrorKind::TimedOut, message).into())
            }
        }
    }
}
