//! A reverse proxy to one upstream: streams both ways, with trailers, and passes `Upgrade` through.
//!
//! An http upstream gets HTTP/1.1 and the client's own `Host`. An https upstream gets HTTP/2 or HTTP/1.1, whichever it
//! agrees to, and its own name as host: TLS servers choose certificate and site by it, and HTTP/2 forbids a `Host`
//! that differs from `:authority`. The client's host is in `X-Forwarded-Host` either way.

mod client;
mod fields;
mod patience;
#[cfg(test)]
mod tests;
mod tunnel;
mod url;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;

use self::client::{Client, Clients};
use self::patience::{Clock, Watched};
use crate::backend::plain_text;
use crate::body::{BoxBody, boxed, empty};
use crate::config;
use crate::error::Causes;
use crate::listener::Client as Peer;
use crate::observe::{Attempt, UpstreamFailure};

pub(crate) use self::fields::remove_nominated;
pub use self::url::UpstreamUrl;

/// A reverse proxy with its pool of connections.
pub(crate) struct Proxy {
    /// The upstream's name in logs and metrics.
    name: Arc<str>,
    clients: Clients,
    addresses: Vec<UpstreamUrl>,
    /// Counts requests, for each goes to the address after the one before.
    turn: AtomicUsize,
    /// How long the upstream may take to begin its answer once it has what it needs for that.
    timeout: Duration,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Proxy {
    pub(crate) fn new(name: &str, upstream: &config::Upstream) -> Self {
        Self {
            name: name.into(),
            clients: Clients::new(HttpsConnectorBuilder::with_webpki_roots),
            addresses: upstream.addresses.iter().map(|address| address.value.clone()).collect(),
            turn: AtomicUsize::new(0),
            timeout: upstream.response_timeout.0,
        }
    }

    /// The upstream's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The servers that there are to choose from.
    pub(crate) fn addresses(&self) -> &[UpstreamUrl] {
        &self.addresses
    }

    pub(crate) async fn respond(&self, mut request: Request<BoxBody>) -> Response<BoxBody> {
        let address = self.address();
        let upgrade = tunnel::asked(&mut request);
        let Ok(uri) = address.join(request.uri()) else {
            return plain_text(StatusCode::URI_TOO_LONG, "the URI is too long\n");
        };
        let attempt = Attempt::begin(&mut request, &self.name);
        prepare(&mut request, address, upgrade.as_ref());
        *request.uri_mut() = uri;

        // An upgrade is a matter of HTTP/1.1: an upstream that would rather speak HTTP/2 must not get to choose.
        let client = if upgrade.is_some() { &self.clients.http1 } else { &self.clients.any };
        let response = match self.exchange(client, request).await {
            Ok(response) => {
                attempt.answered(response.status());
                response
            }
            Err(failed) => {
                failed.note(attempt);
                return self.failure(address, failed);
            }
        };
        match upgrade {
            _ if response.status() != StatusCode::SWITCHING_PROTOCOLS => answer(response),
            Some(upgrade) => upgrade.accept(response),
            None => {
                self.failure(address, Failed::Upstream("it switches protocols without being asked to".into()))
            }
        }
    }

    /// The address whose turn it is.
    fn address(&self) -> &UpstreamUrl {
        &self.addresses[self.turn.fetch_add(1, Ordering::Relaxed) % self.addresses.len()]
    }

    /// Sends the request and waits for the head of its answer.
    async fn exchange(
        &self,
        client: &Client,
        request: Request<BoxBody>,
    ) -> Result<Response<Incoming>, Failed> {
        let clock = Clock::start();
        let request = request.map(|body| Watched::new(body, clock.clone()));
        tokio::select! {
            result = client.request(request) => result.map_err(|error| {
                if clock.client_failed() { Failed::Client(error.into()) } else { Failed::Upstream(error.into()) }
            }),
            () = clock.expired(self.timeout) => Err(Failed::Timeout),
        }
    }

    /// The answer when there is none from the upstream: details go to the log, not to the client.
    fn failure(&self, address: &UpstreamUrl, failed: Failed) -> Response<BoxBody> {
        let upstream = &*self.name;
        match failed {
            Failed::Client(error) => {
                tracing::debug!(error = %Causes(&*error), "request body broke off");
                plain_text(StatusCode::BAD_REQUEST, "the request body broke off\n")
            }
            Failed::Upstream(error) => {
                tracing::warn!(upstream, %address, error = %Causes(&*error), "upstream failed");
                plain_text(StatusCode::BAD_GATEWAY, "bad gateway\n")
            }
            Failed::Timeout => {
                tracing::warn!(upstream, %address, timeout = ?self.timeout, "upstream did not answer in time");
                plain_text(StatusCode::GATEWAY_TIMEOUT, "gateway timeout\n")
            }
        }
    }
}

/// Turns the request as received into the one to send, its URI excepted.
fn prepare(request: &mut Request<BoxBody>, address: &UpstreamUrl, upgrade: Option<&tunnel::Asked>) {
    let authority = request.uri().authority().cloned();
    let peer = request.extensions().get::<Peer>().copied();
    // None of what this side of the proxy keeps with a request concerns the other.
    request.extensions_mut().clear();
    *request.version_mut() = Version::HTTP_11;

    let (bodiless, length) = (request.body().is_end_stream(), request.body().size_hint().exact());
    let headers = request.headers_mut();
    let te_trailers = fields::accepts_trailers(headers);
    fields::remove_hop_by_hop(headers);
    if te_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    fields::join_cookies(headers);
    if let Some(host) = authority.as_ref().and_then(host_of) {
        headers.insert(header::HOST, host);
    }
    fields::add_forwarded(headers, peer);
    if address.is_tls() {
        headers.remove(header::HOST);
    }
    if !bodiless {
        fields::choose_framing(headers, length);
    }
    if let Some(upgrade) = upgrade {
        upgrade.write(headers);
    }
}

/// Why there is no answer from the upstream.
enum Failed {
    Client(crate::body::BoxError),
    Upstream(crate::body::BoxError),
    Timeout,
}

impl Failed {
    fn note(&self, attempt: Attempt) {
        match self {
            Self::Client(error) => attempt.failed(UpstreamFailure::RequestBody, &**error),
            Self::Upstream(error) if is_connect(&**error) => {
                attempt.failed(UpstreamFailure::Connect, &**error)
            }
            Self::Upstream(error) => attempt.failed(UpstreamFailure::Broken, &**error),
            Self::Timeout => attempt.timed_out(),
        }
    }
}

fn is_connect(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|error| error.is_connect())
}

fn answer(response: Response<Incoming>) -> Response<BoxBody> {
    let (mut head, body) = response.into_parts();
    fields::remove_hop_by_hop(&mut head.headers);
    respond_with(head.status, head.headers, boxed(body))
}

/// A response of our own version and extensions.
fn respond_with(status: StatusCode, headers: HeaderMap, body: BoxBody) -> Response<BoxBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The target's host, as RFC 9112 section 3.2.2 and RFC 9113 section 8.3.1 put it before a `Host` header.
fn host_of(authority: &Authority) -> Option<HeaderValue> {
    let text = authority.as_str();
    HeaderValue::from_str(text.rsplit_once('@').map_or(text, |(_, host)| host)).ok()
}
