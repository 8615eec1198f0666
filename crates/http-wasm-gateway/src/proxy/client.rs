//! The pooled HTTP clients of an upstream.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{
    ConfigBuilderExt as _, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream,
};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;

use super::patience::Timed;
use super::replay::Replayed;
use crate::body::BoxError;
use crate::config::{Certificate, ForwardedHost, Upstream, UpstreamHttp, UpstreamTls};
use crate::error::plain;
use crate::tls::{self, PairFault};

/// How often an HTTP/2 connection with requests on it is asked whether it is still there, and how long it may take to answer. An
/// upstream that is gone without a word would hold them until their timeouts otherwise, and get new ones.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A client whose connections take no longer to come about, TLS handshake included, than they may.
pub(super) type Client = legacy::Client<Connector, Timed<Replayed>>;

/// The client wants futures that can be moved, which boxed ones can.
type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// The clients of an upstream.
///
/// They send a request a second time only when a pooled connection turned out to be closed before a byte of it was
/// written: hyper hands the request back untouched in that case alone, so that no body can be lost or sent twice.
pub(super) struct Clients {
    /// The versions that the upstream's settings say.
    pub(super) any: Client,
    /// HTTP/1.1 alone.
    pub(super) http1: Client,
}

impl Clients {
    /// The clients, or why there can't be any: files that the settings name are wrong.
    pub(super) fn new(upstream: &Upstream) -> Result<Self, String> {
        let tls = Tls::new(upstream.tls.as_ref().map(|tls| &tls.value))?;
        let client = |http| client(upstream, tls.connector(http), http);
        Ok(Self { any: client(spoken(upstream)), http1: client(UpstreamHttp::Http1) })
    }
}

/// Which versions are spoken. One that has its host in the URI, as HTTP/2 does, can't have the client's.
fn spoken(upstream: &Upstream) -> UpstreamHttp {
    match upstream.forwarded_host() {
        ForwardedHost::Client => UpstreamHttp::Http1,
        ForwardedHost::Upstream => upstream.http,
    }
}

fn client(upstream: &Upstream, connector: HttpsConnector<HttpConnector>, http: UpstreamHttp) -> Client {
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(upstream.idle_timeout.0)
        .pool_max_idle_per_host(upstream.max_idle.get() as usize)
        .http2_only(http == UpstreamHttp::Http2)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(Connector::new(Timeout::new(connector, upstream.connect_timeout.0)))
}

/// Whom to trust, and who to be.
struct Tls {
    config: ClientConfig,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    fn new(settings: Option<&UpstreamTls>) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match settings.and_then(|tls| tls.ca.as_ref()) {
            None => builder.with_webpki_roots(),
            Some(ca) => {
                let roots = tls::roots(&read(ca)?).map_err(|reason| format!("{}: {reason}", ca.display()))?;
                builder.with_root_certificates(roots)
            }
        };
        let config = match settings.and_then(|tls| tls.identity.as_ref()) {
            None => builder.with_no_client_auth(),
            Some(pair) => builder.with_client_cert_resolver(Arc::new(identity(pair)?)),
        };
        let server_name = settings.and_then(|tls| tls.server_name.as_ref());
        let server_name = server_name.map(|name| {
            ServerName::try_from(name.value.clone()).map_err(|_| format!("{:?} is no host name", name.value))
        });
        Ok(Self { config, server_name: server_name.transpose()? })
    }

    fn connector(&self, http: UpstreamHttp) -> HttpsConnector<HttpConnector> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let mut builder = HttpsConnectorBuilder::new().with_tls_config(self.config.clone()).https_or_http();
        if let Some(name) = &self.server_name {
            builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone()));
        }
        match http {
            UpstreamHttp::Auto => builder.enable_all_versions().wrap_connector(tcp),
            UpstreamHttp::Http1 => builder.enable_http1().wrap_connector(tcp),
            UpstreamHttp::Http2 => builder.enable_http2().wrap_connector(tcp),
        }
    }
}

fn identity(pair: &Certificate) -> Result<SingleCertAndKey, String> {
    let pair_of = tls::certified_key(&read(&pair.certificate)?, &read(&pair.key)?);
    pair_of.map(SingleCertAndKey::from).map_err(|fault| match fault {
        PairFault::Certificate(reason) => format!("{}: {reason}", pair.certificate.display()),
        PairFault::Key(reason) => format!("{}: {reason}", pair.key.display()),
        PairFault::Mismatch => format!("{} does not belong to the certificate", pair.key.display()),
    })
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} can't be read: {}", path.display(), plain(&error)))
}
