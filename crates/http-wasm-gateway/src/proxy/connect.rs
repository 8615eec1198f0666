//! Opening connections to an upstream: TCP, and TLS according to its settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{
    ConfigBuilderExt as _, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream,
};
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use crate::body::BoxError;
use crate::config::{Certificate, ForwardedHost, Upstream, UpstreamHttp, UpstreamTls};
use crate::descriptors::{self, Descriptors};
use crate::error_text::plain;
use crate::tls::{self, PairFault};

/// How long a connection may be without traffic before TCP probes the upstream.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// The transport of a connection to an upstream: TCP, or TLS over TCP.
pub(super) type Io = Box<dyn Stream>;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A new connection, before anything is sent on it.
pub(super) struct Connected {
    pub(super) io: Io,
    /// Whether the server agreed to HTTP/2 in the TLS handshake.
    pub(super) negotiated_http2: bool,
}

/// Opens connections. Boxed, because its futures must be movable; tests replace it with in-memory servers.
pub(super) type Connector = BoxCloneSyncService<Uri, Connected, BoxError>;

/// The connectors of an upstream.
#[derive(Clone)]
pub(super) struct Connectors {
    /// For all versions that the upstream's settings allow.
    pub(super) any: Connector,
    /// For HTTP/1.1 only.
    pub(super) http1: Connector,
    pub(super) http: UpstreamHttp,
}

impl fmt::Debug for Connectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connectors").field("http", &self.http).finish_non_exhaustive()
    }
}

impl Connectors {
    /// Creates the connectors, or returns what is wrong with the files that the settings refer to.
    pub(super) fn new(upstream: &Upstream) -> Result<Self, String> {
        let tls = Tls::new(upstream.tls.as_ref().map(|tls| &tls.value))?;
        let http = offered_versions(upstream);
        let connector = |http| {
            Connector::new(tls.connector(http).map_result(
                |stream: Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>| {
                    let stream = stream?;
                    if !Descriptors::of_process().admits_upstream(descriptor(&stream)) {
                        return Err(descriptors::shortage().into());
                    }
                    let negotiated_http2 = stream.connected().is_negotiated_h2();
                    Ok(Connected { io: transport(stream), negotiated_http2 })
                },
            ))
        };
        Ok(Self { any: connector(http), http1: connector(UpstreamHttp::Http1), http })
    }
}

/// Without the layers that adapt it to hyper.
fn transport(stream: MaybeHttpsStream<TokioIo<TcpStream>>) -> Io {
    match stream {
        MaybeHttpsStream::Http(tcp) => Box::new(tcp.into_inner()),
        MaybeHttpsStream::Https(tls) => Box::new(tls.into_inner()),
    }
}

fn descriptor(stream: &MaybeHttpsStream<TokioIo<TcpStream>>) -> u64 {
    descriptors::number(match stream {
        MaybeHttpsStream::Http(stream) => stream.inner(),
        MaybeHttpsStream::Https(stream) => stream.inner().get_ref().0.inner().inner(),
    })
}

/// The HTTP versions to offer. HTTP/2 has the host in the URI, so the client's host can't be forwarded with it. Only
/// TLS can negotiate a version.
fn offered_versions(upstream: &Upstream) -> UpstreamHttp {
    let negotiable = upstream.addresses.iter().any(|address| address.is_tls());
    match (upstream.forwarded_host(), upstream.http) {
        (ForwardedHost::Client, _) => UpstreamHttp::Http1,
        (ForwardedHost::Upstream, UpstreamHttp::Auto) if !negotiable => UpstreamHttp::Http1,
        (ForwardedHost::Upstream, http) => http,
    }
}

/// The trusted CAs, and the client's identity.
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
            ServerName::try_from(name.value.clone())
                .map_err(|_| format!("invalid host name {:?}", name.value))
        });
        Ok(Self { config, server_name: server_name.transpose()? })
    }

    fn connector(&self, http: UpstreamHttp) -> HttpsConnector<HttpConnector> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
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
        PairFault::Mismatch => format!("{} doesn't match the certificate", pair.key.display()),
    })
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {}", path.display(), plain(&error)))
}
