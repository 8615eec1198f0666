//! The state of an address: its connections, and the HTTP version that it uses.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::connections::http1::{Idle, IdleConnections};
use super::connections::http2::Connections;
use super::settings::Settings;
use crate::body::BoxError;
use crate::config::{Upstream, UpstreamHttp};
use crate::exchange::Interims;
use crate::proxy::connect::{Connected, Connectors};
use crate::upstream_url::UpstreamUrl;

/// The state that the connections to one address share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) uri: Uri,
    /// The `Host` of requests that have none.
    pub(super) host: HeaderValue,
    connectors: Connectors,
    pub(super) settings: Settings,
    /// The version that the server uses, which is known from the start or after the first TLS handshake.
    protocol: AtomicU8,
    http1: Mutex<IdleConnections>,
    pub(super) http2: Connections,
    /// The number of informational responses that were dropped.
    pub(super) informational: AtomicU64,
}

/// The HTTP version of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Unknown,
    Http1,
    Http2,
}

impl Shared {
    pub(super) fn new(url: &UpstreamUrl, connectors: &Connectors, upstream: &Upstream) -> Self {
        let uri = url.uri(PathAndQuery::from_static("/"));
        let protocol = match connectors.http {
            UpstreamHttp::Http2 => Protocol::Http2,
            UpstreamHttp::Auto => Protocol::Unknown,
            UpstreamHttp::Http1 => Protocol::Http1,
        };
        Self {
            host: host(&uri),
            uri,
            connectors: connectors.clone(),
            settings: Settings::new(upstream),
            protocol: AtomicU8::new(protocol as u8),
            http1: Mutex::default(),
            http2: Connections::default(),
            informational: AtomicU64::new(0),
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self.protocol.load(Ordering::Relaxed) {
            protocol if protocol == Protocol::Http1 as u8 => Protocol::Http1,
            protocol if protocol == Protocol::Http2 as u8 => Protocol::Http2,
            _ => Protocol::Unknown,
        }
    }

    pub(super) fn learn(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Ordering::Relaxed);
    }

    /// Whether the TLS handshake decides which version is used.
    pub(super) fn negotiates(&self) -> bool {
        self.connectors.http == UpstreamHttp::Auto
    }

    /// Passes an informational response on, or counts it as dropped.
    pub(super) fn inform(&self, to: Option<&Interims>, status: StatusCode, headers: HeaderMap) {
        // The listener sends 100 to clients when the body is read.
        if status != StatusCode::CONTINUE && !to.is_some_and(|to| to.send(status, headers)) {
            self.informational.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn http1(&self) -> MutexGuard<'_, IdleConnections> {
        self.http1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put_idle(&self, connection: Idle) {
        self.http1().put(connection, self.settings.max_idle);
    }

    pub(super) async fn open(&self, http1: bool) -> Result<Connected, BoxError> {
        let connector = if http1 { &self.connectors.http1 } else { &self.connectors.any };
        connector.clone().oneshot(self.uri.clone()).await
    }

    pub(super) async fn within_connect_timeout<T>(
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

/// The `Host` for a URI: its host, and its port unless that is the scheme's default.
fn host(uri: &Uri) -> HeaderValue {
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().filter(|&port| port != default));
    let host = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    HeaderValue::from_str(&host).unwrap_or_else(|_| HeaderValue::from_static(""))
}
