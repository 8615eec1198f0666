//! The record of a request.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::header::{HOST, HeaderName, REFERER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use tracing::Span;

use super::guest::{GuestFailure, GuestMessage, GuestTimes};
use super::trace_context::TraceContext;
use super::upstream::UpstreamAttempt;
use crate::exchange::client::{Client, Dropped};

/// How many messages of guests are kept for a request's trace. All of them are in the log.
const MAX_MESSAGES: usize = 100;

/// The record of one request: facts from its head, and facts that become known later.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    started: Instant,
    pub(crate) started_at: SystemTime,
    pub(crate) client: Client,
    /// Header fields that were dropped from it.
    pub(crate) dropped: Dropped,
    pub(crate) method: Method,
    /// The original path and query.
    pub(crate) target: String,
    pub(crate) version: Version,
    /// The requested host.
    pub(crate) host: Option<HeaderValue>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) referer: Option<HeaderValue>,
    /// The ID of the request in logs.
    pub(crate) request_id: Option<HeaderValue>,
    /// Its position in a trace, if there are traces.
    pub(crate) trace: Option<TraceContext>,
    /// The span for everything that guests log.
    span: Span,
    request_bytes: AtomicU64,
    route: OnceLock<Arc<str>>,
    status: OnceLock<StatusCode>,
    client_failed: AtomicBool,
    notes: Mutex<Notes>,
}

/// The parts to which several components add while the request is handled.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The attempts to send it to an upstream: none if a guest or the gateway responded, several if it was retried.
    pub(super) attempts: Vec<UpstreamAttempt>,
    /// The times of the guests, in the order in which they saw the request.
    pub(super) guests: Vec<GuestTimes>,
    /// What its guests logged, if the trace is sent.
    pub(super) messages: Vec<GuestMessage>,
}

/// The target without the host, except for CONNECT, whose target is nothing else.
fn target(uri: &Uri) -> String {
    let authority = || uri.authority().map_or_else(String::new, ToString::to_string);
    uri.path_and_query().map_or_else(authority, ToString::to_string)
}

impl RequestRecord {
    pub(crate) fn begin<B>(
        request: &Request<B>,
        client: Client,
        dropped: Dropped,
        request_id: Option<HeaderValue>,
        trace: Option<TraceContext>,
    ) -> Self {
        let field = |name: HeaderName| request.headers().get(name).cloned();
        let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        // The span has the level of errors, so that any filter that shows a guest's messages also shows the request's
        // ID.
        let span = request_id.as_ref().and_then(|id| id.to_str().ok()).map_or_else(Span::none, |id| {
            tracing::error_span!(target: "http_wasm::request", "request", id, route = tracing::field::Empty)
        });
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            client,
            dropped,
            method: request.method().clone(),
            target: target(request.uri()),
            version: request.version(),
            host: host.or_else(|| field(HOST)),
            user_agent: field(USER_AGENT),
            referer: field(REFERER),
            request_id,
            trace,
            span,
            request_bytes: AtomicU64::new(0),
            route: OnceLock::new(),
            status: OnceLock::new(),
            client_failed: AtomicBool::new(false),
            notes: Mutex::default(),
        }
    }

    /// When the request arrived.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Whether its trace is sent.
    pub(crate) fn is_traced(&self) -> bool {
        self.trace.as_ref().is_some_and(TraceContext::is_sampled)
    }

    /// The span for everything that is logged while the request is handled.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// The number of body bytes that guests, or the next handler, have read from the connection.
    pub(crate) fn request_bytes(&self) -> u64 {
        self.request_bytes.load(Ordering::Relaxed)
    }

    /// Counts body bytes that were read from the connection.
    pub(super) fn add_request_bytes(&self, bytes: u64) {
        self.request_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The route of the request. `None` if the request was rejected before routing, or matched no route.
    pub(crate) fn route(&self) -> Option<&Arc<str>> {
        self.route.get()
    }

    /// Records the route of the request.
    pub(crate) fn set_route(&self, route: &Arc<str>) {
        self.span.record("route", &**route);
        // Nothing is recorded twice. If it were, the first record would be kept.
        let _ = self.route.set(route.clone());
    }

    /// The response's status. `None` if the client disconnected before there was one.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        self.status.get().copied()
    }

    /// Records that the response head is available.
    pub(super) fn set_status(&self, status: StatusCode) {
        let _ = self.status.set(status);
    }

    /// Whether the response says that the client didn't send the request's body as it should.
    pub(super) fn has_client_failed(&self) -> bool {
        self.client_failed.load(Ordering::Relaxed)
    }

    /// Records that the request's body has ended prematurely, or was malformed, too slow or too large.
    pub(crate) fn set_client_failed(&self) {
        self.client_failed.store(true, Ordering::Relaxed);
    }

    /// Records the result of one attempt to send the request to an upstream.
    pub(super) fn add_attempt(&self, attempt: UpstreamAttempt) {
        self.notes().attempts.push(attempt);
    }

    /// Records the times of a guest. The innermost guest finishes first.
    pub(super) fn add_guest(&self, times: GuestTimes) {
        self.notes().guests.insert(0, times);
    }

    /// The guest that got the request after `began` has ended its part, which continued while its response was sent.
    pub(super) fn end_stream(
        &self,
        guest: &Arc<str>,
        began: Duration,
        response: Duration,
        failure: Option<GuestFailure>,
    ) {
        let mut notes = self.notes();
        if let Some(times) = notes.guests.iter_mut().find(|its| its.guest == *guest && its.began == began) {
            (times.response, times.failure) = (Some(response), failure);
        }
    }

    /// Records a message that a guest logged.
    pub(super) fn add_message(&self, message: GuestMessage) {
        let mut notes = self.notes();
        if notes.messages.len() < MAX_MESSAGES {
            notes.messages.push(message);
        }
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
