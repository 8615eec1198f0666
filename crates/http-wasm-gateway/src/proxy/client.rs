//! The pooled HTTP clients.

use std::time::Duration;

use hyper_rustls::builderstates::{WantsSchemes, WantsTlsConfig};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::patience::Watched;

/// How long a TCP connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an unused connection is kept. Shorter than what servers allow as a rule, so that few are found closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) type Client = legacy::Client<HttpsConnector<HttpConnector>, Watched>;

/// Clients for http and https.
///
/// They send a request a second time only when a pooled connection turned out to be closed before a byte of it was
/// written: hyper hands the request back untouched in that case alone, so that no body can be lost or sent twice.
pub(super) struct Clients {
    /// HTTP/2 where an https upstream agrees to it, HTTP/1.1 otherwise.
    pub(super) any: Client,
    /// HTTP/1.1 alone.
    pub(super) http1: Client,
}

impl Clients {
    /// `tls` says whom to trust.
    pub(super) fn new(
        tls: impl Fn(HttpsConnectorBuilder<WantsTlsConfig>) -> HttpsConnectorBuilder<WantsSchemes>,
    ) -> Self {
        let https = || tls(HttpsConnectorBuilder::new()).https_or_http();
        Self {
            any: client(https().enable_all_versions().wrap_connector(tcp())),
            http1: client(https().enable_http1().wrap_connector(tcp())),
        }
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

fn client(connector: HttpsConnector<HttpConnector>) -> Client {
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build(connector)
}
