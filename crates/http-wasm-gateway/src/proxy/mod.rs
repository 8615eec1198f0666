//! A reverse proxy to one upstream: streams both ways, with trailers, and passes `Upgrade` through.
//!
//! Unless told otherwise, an http upstream gets HTTP/1.1 and the client's own `Host`. An https upstream gets HTTP/2 or HTTP/1.1,
//! whichever it agrees to, and its own name as host: TLS servers choose certificate and site by it, and HTTP/2 forbids a
//! `Host` that differs from `:authority`. The client's host is in `X-Forwarded-Host` either way.

mod client;
mod fields;
mod health;
mod patience;
mod replay;
mod server;
#[cfg(test)]
mod tests;
mod tunnel;
mod url;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tokio::task::JoinSet;
use tower::retry::budget::{Budget as _, TpsBudget};

use self::client::{Client, Clients};
use self::patience::{Clock, Timed};
use self::replay::{Replay, Replayed};
use self::server::{Lease, Leased, Servers};
use crate::backend::plain_text;
use crate::body::{BoxBody, BoxError, boxed, empty};
use crate::config::{self, ForwardedHost};
use crate::error::Causes;
use crate::framing::{self, Framing};
use crate::inbound::Inbound;
use crate::observe::{Attempt, UpstreamFailure};

pub(crate) use self::fields::remove_nominated;
pub(crate) use self::server::AddressStatus;
pub use self::url::UpstreamUrl;

/// Retries may be a fifth of the requests of the last ten seconds, and ten a second when there are few: what helps against a
/// server that is gone must not become the load that keeps it down.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
const BUDGET_PER_SECOND: u32 = 10;
const BUDGET_SHARE: f32 = 0.2;

/// Pause before a request goes once more to an address that it has been to; it doubles each time.
const PAUSE: Duration = Duration::from_millis(25);

/// A reverse proxy with its pool of connections.
pub(crate) struct Proxy {
    /// The upstream's name in logs and metrics.
    name: Arc<str>,
    clients: Clients,
    servers: Servers,
    host: ForwardedHost,
    /// How long the upstream may take to begin its answer once it has what it needs for that.
    timeout: Duration,
    retries: usize,
    budget: TpsBudget,
    /// Those that ask addresses how they are. They end when this is dropped.
    _asking: JoinSet<()>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy to this upstream, or why there can't be one. Within a runtime.
    pub(crate) fn new(name: &str, upstream: &config::Upstream) -> Result<Self, String> {
        let name: Arc<str> = name.into();
        let (clients, servers) = (Clients::new(upstream)?, Servers::new(upstream));
        let mut asking = JoinSet::new();
        if let Some(asked) = &upstream.health.active {
            for server in servers.iter() {
                let server = Arc::downgrade(server);
                asking.spawn(health::ask(server, clients.any.clone(), asked.clone(), name.clone()));
            }
        }
        Ok(Self {
            name,
            clients,
            servers,
            host: upstream.forwarded_host(),
            timeout: upstream.response_timeout.0,
            retries: upstream.retries as usize,
            budget: TpsBudget::new(BUDGET_WINDOW, BUDGET_PER_SECOND, BUDGET_SHARE),
            _asking: asking,
        })
    }

    /// The upstream's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How the servers are that there are to choose from.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = AddressStatus> {
        self.servers.status()
    }

    pub(crate) async fn respond(&self, inbound: &mut Inbound) -> Response<BoxBody> {
        let upgrade = tunnel::asked(inbound);
        prepare(inbound, self.host, upgrade.as_ref());

        // An upgrade is a matter of HTTP/1.1: an upstream that would rather speak HTTP/2 must not get to choose.
        let client = if upgrade.is_some() { &self.clients.http1 } else { &self.clients.any };
        let (lease, mut response) = match self.exchange(client, inbound).await {
            Ok(answered) => answered,
            Err(failed) => return self.answer_to(failed),
        };
        if let Err(reason) = framing::received(&mut response) {
            tracing::warn!(upstream = &*self.name, address = %lease.server().url, reason, "response refused");
            return bad_gateway();
        }
        match upgrade {
            _ if response.status() != StatusCode::SWITCHING_PROTOCOLS => answer(response, lease),
            Some(upgrade) => upgrade.accept(response, lease),
            None => {
                tracing::warn!(
                    upstream = &*self.name, address = %lease.server().url,
                    "upstream failed: it switches protocols without being asked to"
                );
                bad_gateway()
            }
        }
    }

    /// Sends the request and waits for the head of its answer; where that fails, sends it to another address, as far as that is
    /// safe, allowed and not too much.
    async fn exchange(
        &self,
        client: &Client,
        inbound: &mut Inbound,
    ) -> Result<(Lease, Response<Incoming>), Failed> {
        let (head, body) = inbound.take().into_parts();
        let idempotent = is_idempotent(&head.method);
        let body = Replay::new(body, self.retries > 0 && idempotent);
        self.budget.deposit();
        let mut tried: Vec<Lease> = Vec::new();
        loop {
            let lease = self.servers.choose(&tried);
            let server = lease.server();
            if lease.is_among(&tried) {
                let doublings = u32::try_from(tried.len() - 1).unwrap_or(u32::MAX).min(6);
                tokio::time::sleep(PAUSE * 2_u32.pow(doublings)).await;
            }
            let Ok(uri) = server.url.join(&head.uri) else { return Err(Failed::Uri) };
            let mut request = to(uri, &head, body.attempt());
            let attempt =
                Attempt::begin(&mut request, inbound.exchange.as_ref(), &self.name, &server.address);
            let failed = match self.attempt(client, request).await {
                Ok(response) => {
                    attempt.answered(response.status());
                    server.health.succeeded();
                    return Ok((lease, response));
                }
                Err(failed) => failed,
            };
            failed.note(attempt);
            if failed.is_the_upstreams() {
                self.note(&lease, &failed);
            }
            let safe = failed.was_unseen() || idempotent && failed.is_broken();
            if !safe || tried.len() >= self.retries || !body.is_whole() || !self.budget.withdraw() {
                return Err(failed);
            }
            tried.push(lease);
        }
    }

    /// Sends the request once.
    async fn attempt(
        &self,
        client: &Client,
        request: Request<Replayed>,
    ) -> Result<Response<Incoming>, Failed> {
        let clock = Clock::start();
        let request = request.map(|body| Timed::new(body, clock.clone()));
        tokio::select! {
            result = client.request(request) => result.map_err(|error| {
                if clock.client_failed() { Failed::Client(error.into()) } else { Failed::Upstream(error) }
            }),
            () = clock.expired(self.timeout) => Err(Failed::Timeout),
        }
    }

    /// Says in the log what an address did, and remembers it.
    fn note(&self, lease: &Lease, failed: &Failed) {
        let (upstream, address) = (&*self.name, &lease.server().url);
        match failed {
            Failed::Upstream(error) => {
                tracing::warn!(upstream, %address, error = %Causes(error), "upstream failed");
            }
            _ => {
                tracing::warn!(upstream, %address, timeout = ?self.timeout, "upstream did not answer in time")
            }
        }
        if let Some(out) = lease.server().health.failed() {
            tracing::warn!(upstream, %address, ?out, "an address failed too often and gets no requests for a while");
        }
    }

    /// The answer when there is none from the upstream: details went to the log, not to the client.
    fn answer_to(&self, failed: Failed) -> Response<BoxBody> {
        match failed {
            Failed::Uri => plain_text(StatusCode::URI_TOO_LONG, "the URI is too long\n"),
            Failed::Client(error) => {
                tracing::debug!(error = %Causes(&*error), "request body broke off");
                plain_text(StatusCode::BAD_REQUEST, "the request body broke off\n")
            }
            Failed::Upstream(_) => bad_gateway(),
            Failed::Timeout => plain_text(StatusCode::GATEWAY_TIMEOUT, "gateway timeout\n"),
        }
    }
}

fn bad_gateway() -> Response<BoxBody> {
    plain_text(StatusCode::BAD_GATEWAY, "bad gateway\n")
}

/// Whether a request may be sent again though the upstream may have seen it (RFC 9110 section 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// One more request with this head.
fn to(uri: Uri, head: &http::request::Parts, body: Replayed) -> Request<Replayed> {
    let mut request = Request::new(body);
    request.method_mut().clone_from(&head.method);
    *request.uri_mut() = uri;
    request.headers_mut().clone_from(&head.headers);
    request
}

/// Turns the request as received into the one to send, its URI excepted.
fn prepare(inbound: &mut Inbound, host: ForwardedHost, upgrade: Option<&tunnel::Asked>) {
    let Inbound { request, client, .. } = inbound;
    let authority = request.uri().authority().cloned();
    // None of what this side of the proxy keeps with a request concerns the other.
    request.extensions_mut().clear();
    let received = std::mem::replace(request.version_mut(), Version::HTTP_11);
    let framing = Framing::of_request(request.method(), received, request.headers(), request.body());

    let headers = request.headers_mut();
    let te_trailers = framing::accepts_trailers(headers);
    fields::remove_hop_by_hop(headers);
    if te_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    fields::join_cookies(headers);
    if let Some(host) = authority.as_ref().and_then(host_of) {
        headers.insert(header::HOST, host);
    }
    fields::add_forwarded(headers, *client);
    if host == ForwardedHost::Upstream {
        headers.remove(header::HOST);
    }
    framing.write_request(headers);
    if let Some(upgrade) = upgrade {
        upgrade.write(headers);
    }
}

/// Why there is no answer from the upstream.
enum Failed {
    /// The URI is too long with the address's own path before it.
    Uri,
    Client(BoxError),
    Upstream(legacy::Error),
    Timeout,
}

impl Failed {
    fn is_the_upstreams(&self) -> bool {
        matches!(self, Self::Upstream(_) | Self::Timeout)
    }

    /// Whether the connection could not be made or was lost. An upstream that takes its time gets nothing again.
    fn is_broken(&self) -> bool {
        matches!(self, Self::Upstream(_))
    }

    /// Whether the upstream can't have seen the request.
    fn was_unseen(&self) -> bool {
        matches!(self, Self::Upstream(error) if error.is_connect())
    }

    fn note(&self, attempt: Attempt) {
        match self {
            // Nothing was sent.
            Self::Uri => {}
            Self::Client(error) => attempt.failed(UpstreamFailure::RequestBody, &**error),
            Self::Upstream(error) if error.is_connect() => attempt.failed(UpstreamFailure::Connect, error),
            Self::Upstream(error) => attempt.failed(UpstreamFailure::Broken, error),
            Self::Timeout => attempt.timed_out(),
        }
    }
}

fn answer(response: Response<Incoming>, lease: Lease) -> Response<BoxBody> {
    let (mut head, body) = response.into_parts();
    fields::remove_hop_by_hop(&mut head.headers);
    respond_with(head.status, head.headers, boxed(Leased { body, _lease: lease }))
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
