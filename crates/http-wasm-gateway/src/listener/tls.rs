//! TLS for listeners.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, ServerConfig};

use super::certificates::Certificates;
use crate::config::{ListenHttp, ListenTls, TlsVersion};

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// The TLS settings of one listener.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl Tls {
    /// The TLS settings of the listener at `address`.
    pub(super) fn new(address: &str, tls: &ListenTls, http: ListenHttp) -> Result<Self, String> {
        let certificates = Arc::new(Certificates::load(address, tls)?);
        let versions: &[_] = match tls.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error: Error| error.to_string())?;
        let mut config = config.with_no_client_auth().with_cert_resolver(certificates.clone());
        config.alpn_protocols = match http {
            ListenHttp::Auto => vec![HTTP2.to_vec(), HTTP1.to_vec()],
            ListenHttp::Http1 => vec![HTTP1.to_vec()],
            ListenHttp::Http2 => vec![HTTP2.to_vec()],
        };
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificates })
    }

    pub(super) fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }
}

/// The negotiated HTTP version. `None` if the client offered none.
pub(super) fn agreed(protocol: Option<&[u8]>) -> Option<ListenHttp> {
    match protocol? {
        HTTP2 => Some(ListenHttp::Http2),
        HTTP1 => Some(ListenHttp::Http1),
        _ => None,
    }
}
