//! A reverse proxy to one upstream: streams both ways, with trailers, and forwards `Upgrade`.
//!
//! By default, an http upstream gets HTTP/1.1 and the client's own `Host`. An https upstream gets HTTP/2 or HTTP/1.1,
//! whichever it negotiates, and its own name as the host: TLS servers select certificate and site by it, and HTTP/2
//! forbids a `Host` that differs from `:authority`. The client's host is in `X-Forwarded-Host` either way.

mod connect;
mod fields;
mod health;
mod health_check;
mod pool;
mod replay;
mod response;
mod retry_budget;
mod server;
#[cfg(test)]
mod tests;
mod timeout;
mod tunnel;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderValue, Method, Response, StatusCode, Version, header};
use http_wasm_tower::{BodyBudget, StreamedRequest};
use tokio::task::JoinSet;

use self::connect::Connectors;
use self::pool::{Outbound, ResponseBody, SendError, SendErrorKind, Sending};
use self::replay::Replay;
use self::response::respond_with;
use self::retry_budget::RetryBudget;
use self::server::{Lease, Leased, LeasedHook, Servers};
use crate::body::{BoxBody, boxed, full};
use crate::config::{self, ForwardedHost, UpstreamHttp};
use crate::error_text::Causes;
use crate::exchange::{Attempt, Inbound, plain_text, unavailable};
use crate::framing::{self, Framing};
use crate::known_fields::KnownFields;

pub(crate) use self::server::AddressStatus;

/// How long to wait before a request is sent again to the same address. It doubles each time.
const PAUSE: Duration = Duration::from_millis(25);

/// A reverse proxy with its connection pool.
pub(crate) struct Proxy {
    /// The upstream's name in logs and metrics.
    name: Arc<str>,
    servers: Servers,
    host: ForwardedHost,
    /// How long the upstream may take to start its response once it has received everything that it needs.
    timeout: Duration,
    retries: usize,
    /// Whether the upstream may use HTTP/2, and so refuse requests unprocessed.
    refusable: bool,
    retry_budget: RetryBudget,
    /// The budget for bodies that are kept for retries.
    body_budget: BodyBudget,
    /// Health checks, and the task that closes idle connections. They end when this is dropped.
    _tasks: JoinSet<()>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Creates a proxy to this upstream, or returns why it can't. Must be called within a runtime.
    pub(crate) fn new(name: &str, upstream: &config::Upstream) -> Result<Self, String> {
        Ok(Self::with(name, upstream, &Connectors::new(upstream)?))
    }

    fn with(name: &str, upstream: &config::Upstream, connectors: &Connectors) -> Self {
        let name: Arc<str> = name.into();
        let servers = Servers::new(upstream, connectors);
        let mut tasks = JoinSet::new();
        for server in servers.iter() {
            tasks.spawn(server.pool.sweep());
            if let Some(asked) = &upstream.health.active {
                tasks.spawn(health_check::run(Arc::downgrade(server), asked.clone(), name.clone()));
            }
        }
        Self {
            name,
            servers,
            host: upstream.forwarded_host(),
            timeout: upstream.response_timeout.0,
            retries: upstream.retries as usize,
            refusable: connectors.http != UpstreamHttp::Http1,
            retry_budget: RetryBudget::new(),
            body_budget: BodyBudget::default(),
            _tasks: tasks,
        }
    }

    /// Charges bodies kept for retries to this budget.
    pub(crate) fn with_body_budget(self, body_budget: &BodyBudget) -> Self {
        Self { body_budget: body_budget.clone(), ..self }
    }

    /// The upstream's name.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The state of the addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = AddressStatus> {
        self.servers.status()
    }

    pub(crate) async fn respond(&self, inbound: &mut Inbound) -> Response<BoxBody> {
        let upgrade = tunnel::upgrade_request(inbound);
        let outlasts_response = inbound.request.extensions().get::<StreamedRequest>().is_some();
        prepare(inbound, self.host, upgrade.as_ref());

        // Upgrades only exist in HTTP/1.1, so an upstream that prefers HTTP/2 must not be able to negotiate it.
        // Boxed, as each future around it would have to be as large, and is copied on its way into the next.
        let exchange = Box::pin(self.exchange(upgrade.is_some(), outlasts_response, inbound));
        let (lease, mut response) = match exchange.await {
            Ok(answered) => answered,
            Err(failed) => return self.answer_to(failed),
        };
        let known = KnownFields::of(response.headers());
        if let Err(reason) = framing::received(&mut response, known) {
            tracing::warn!(upstream = &*self.name, address = %lease.server().url, reason, "response refused");
            return bad_gateway();
        }
        match upgrade {
            _ if response.status() != StatusCode::SWITCHING_PROTOCOLS => self.answer(response, known, lease),
            Some(upgrade) => upgrade.accept(response, lease),
            None => {
                tracing::warn!(
                    upstream = &*self.name, address = %lease.server().url,
                    "upstream failed: it switched protocols without an upgrade request"
                );
                bad_gateway()
            }
        }
    }

    /// Sends the request and waits for the head of the response. If that fails, sends the request to another address,
    /// as far as that is safe and allowed.
    async fn exchange(
        &self,
        http1: bool,
        outlasts_response: bool,
        inbound: &mut Inbound,
    ) -> Result<(Lease, Response<ResponseBody>), ExchangeError> {
        // Sent from where it is, since it is large.
        let Inbound { request, record, interims, queue_timeout, .. } = inbound;
        let idempotent = is_idempotent(request.method());
        // HTTP/2 servers can refuse a request unprocessed, whatever its method.
        let keep = self.refusable || self.retries > 0 && idempotent;
        let body = Replay::new(std::mem::take(request.body_mut()), keep, &self.body_budget);
        self.retry_budget.count();
        let mut tried: Vec<Lease> = Vec::new();
        let (mut avoid, mut pause) = (None, false);
        loop {
            let lease = self.servers.choose(&tried);
            let server = lease.server();
            if pause && lease.is_among(&tried) {
                let doublings = u32::try_from(tried.len() - 1).unwrap_or(u32::MAX).min(6);
                tokio::time::sleep(PAUSE * 2_u32.pow(doublings)).await;
            }
            let Ok(target) = server.url.target(request.uri()) else { return Err(ExchangeError::Uri) };
            let headers = request.headers_mut();
            let attempt = Attempt::begin(headers, record.as_ref(), &self.name, &server.address);
            let (method, headers) = (request.method(), request.headers());
            let outbound = Outbound { method, target, headers, body: body.attempt() };
            let sending = Sending {
                http1,
                fresh: !tried.is_empty(),
                avoid,
                response_timeout: self.timeout,
                outlasts_response,
                queue_timeout: *queue_timeout,
                interims: interims.as_deref(),
            };
            let error = match server.pool.send(outbound, &sending).await {
                Ok(response) => {
                    attempt.answered(response.status());
                    server.health.succeeded();
                    return Ok((lease, response));
                }
                Err(error) => error,
            };
            attempt.failed(error.failure(), &error);
            let again = body.is_whole() && self.may_retry(&error, idempotent, tried.len());
            self.note(&lease, &error, again);
            if !again {
                return Err(ExchangeError::Send(error));
            }
            // Other kinds of errors concern the connection and not the address.
            pause = error.is_unhealthy();
            if let SendErrorKind::Unprocessed { connection } = error.kind {
                avoid = Some(connection);
            }
            tried.push(lease);
        }
    }

    /// The response from the upstream, which has these known fields.
    fn answer(
        &self,
        response: Response<ResponseBody>,
        known: KnownFields,
        lease: Lease,
    ) -> Response<BoxBody> {
        let (mut head, body) = response.into_parts();
        fields::remove_hop_by_hop(&mut head.headers, known);
        let body = match body.into_whole() {
            Ok(whole) => full(whole),
            Err(body) => boxed(Leased { body, hook: LeasedHook { upstream: self.name.clone(), lease } }),
        };
        respond_with(head.status, head.headers, body)
    }

    /// Whether a failed request may be retried, as far as that doesn't depend on its body.
    fn may_retry(&self, error: &SendError, idempotent: bool, retried: usize) -> bool {
        let (safe, retries) = match error.kind {
            SendErrorKind::Connect => (true, self.retries),
            SendErrorKind::Unprocessed { .. } => (true, self.retries.max(1)),
            SendErrorKind::Stale | SendErrorKind::Broken => (idempotent, self.retries),
            _ => (false, 0),
        };
        // If an idle connection is closed just when a request is sent, this doesn't affect the upstream's health.
        let free = error.kind == SendErrorKind::Stale && retried == 0;
        safe && retried < retries && (free || self.retry_budget.take())
    }

    /// Logs and records the failure of an address.
    fn note(&self, lease: &Lease, error: &SendError, again: bool) {
        let (upstream, address) = (&*self.name, &lease.server().url);
        match error.kind {
            // The client's failures are logged with the response.
            SendErrorKind::RequestBody => {}
            SendErrorKind::Timeout => {
                tracing::warn!(upstream, %address, timeout = ?self.timeout, "upstream timed out");
            }
            SendErrorKind::Stale | SendErrorKind::Unprocessed { .. } if again => {
                tracing::debug!(upstream, %address, error = %Causes(error), "retrying a request");
            }
            _ => tracing::warn!(upstream, %address, error = %Causes(error), "upstream failed"),
        }
        if error.is_unhealthy()
            && let Some(out) = lease.server().health.failed()
        {
            tracing::warn!(upstream, %address, ejected_for = ?out, "ejecting an address after repeated failures");
        }
    }

    /// The response if there is none from the upstream. Details are only logged.
    fn answer_to(&self, failed: ExchangeError) -> Response<BoxBody> {
        let error = match failed {
            ExchangeError::Uri => return plain_text(StatusCode::URI_TOO_LONG, "the URI is too long\n"),
            ExchangeError::Send(error) => error,
        };
        match error.kind {
            SendErrorKind::RequestBody => {
                tracing::debug!(error = %Causes(&error), "request body ended prematurely");
                plain_text(StatusCode::BAD_REQUEST, "the request body ended prematurely\n")
            }
            SendErrorKind::RequestHead => {
                plain_text(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too large\n")
            }
            SendErrorKind::Busy => unavailable(),
            SendErrorKind::Timeout | SendErrorKind::Congested => {
                plain_text(StatusCode::GATEWAY_TIMEOUT, "gateway timeout\n")
            }
            SendErrorKind::Connect
            | SendErrorKind::Unprocessed { .. }
            | SendErrorKind::ResponseHead
            | SendErrorKind::ResponseInvalid
            | SendErrorKind::Stale
            | SendErrorKind::Broken => bad_gateway(),
        }
    }
}

fn bad_gateway() -> Response<BoxBody> {
    plain_text(StatusCode::BAD_GATEWAY, "bad gateway\n")
}

/// Whether a request may be sent again although the upstream may have seen it (RFC 9110 section 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Turns the request as received into the one to send, except for its URI.
fn prepare(inbound: &mut Inbound, host: ForwardedHost, upgrade: Option<&tunnel::UpgradeRequest>) {
    let Inbound { request, client, client_address, .. } = inbound;
    let authority = request.uri().authority().cloned();
    // Extensions that this side of the proxy attaches to a request don't concern the upstream.
    request.extensions_mut().clear();
    let received = std::mem::replace(request.version_mut(), Version::HTTP_11);
    let known = KnownFields::of(request.headers());
    let framing = Framing::of_request(request.method(), received, known, request.body());

    let headers = request.headers_mut();
    let te_trailers = known.has(KnownFields::TE) && framing::accepts_trailers(headers);
    fields::remove_hop_by_hop(headers, known);
    if te_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if known.has(KnownFields::COOKIE) {
        fields::join_cookies(headers);
    }
    if let Some(host) = authority.as_ref().and_then(host_of) {
        headers.insert(header::HOST, host);
    }
    fields::add_forwarded(headers, *client, client_address.take());
    if host == ForwardedHost::Upstream {
        headers.remove(header::HOST);
    }
    framing.write_request(headers, known);
    if let Some(upgrade) = upgrade {
        upgrade.write(headers);
    }
}

/// Why there is no response from the upstream.
enum ExchangeError {
    /// The URI is too long when the path of the address's URL is prepended.
    Uri,
    Send(SendError),
}

/// The target's host. It takes precedence over a `Host` header, as RFC 9112 section 3.2.2 and RFC 9113 section 8.3.1
/// require.
fn host_of(authority: &Authority) -> Option<HeaderValue> {
    let text = authority.as_str();
    HeaderValue::from_str(text.rsplit_once('@').map_or(text, |(_, host)| host)).ok()
}
