//! What is noted about a request while it is under way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use http::header::{HOST, HeaderName, REFERER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Version};
use tracing::Span;

use super::attempts::AttemptNote;
use super::guest::{GuestTimes, Said};
use super::outcome::RequestOutcome;
use super::trace_context::TraceContext;
use crate::exchange::client::{Client, Dropped};

/// Messages of guests that are noted for a request's trace. The log has all.
const MAX_SAID: usize = 100;

/// Notes about one request.
#[derive(Debug)]
pub(crate) struct Exchange {
    started: Instant,
    started_at: SystemTime,
    client: Client,
    dropped: Dropped,
    method: Method,
    target: String,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    trace: Option<TraceContext>,
    said: Mutex<Vec<Said>>,
    /// What guests say is logged within it.
    span: Span,
    /// Bytes of the request's body that were taken.
    request_bytes: AtomicU64,
    route: OnceLock<Arc<str>>,
    attempts: Mutex<Vec<AttemptNote>>,
    guests: Mutex<Vec<GuestTimes>>,
    status: OnceLock<StatusCode>,
}

impl Exchange {
    pub(crate) fn begin<B>(
        request: &Request<B>,
        client: Client,
        dropped: Dropped,
        request_id: Option<HeaderValue>,
        trace: Option<TraceContext>,
    ) -> Self {
        let field = |name: HeaderName| request.headers().get(name).cloned();
        let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        // An error's level, so that no filter that lets a guest's words through takes the request's name from them.
        let span = request_id.as_ref().and_then(|id| id.to_str().ok()).map_or_else(Span::none, |id| {
            tracing::error_span!(target: "http_wasm::request", "request", id, route = tracing::field::Empty)
        });
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            client,
            dropped,
            method: request.method().clone(),
            target: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
            version: request.version(),
            host: host.or_else(|| field(HOST)),
            user_agent: field(USER_AGENT),
            referer: field(REFERER),
            request_id,
            trace,
            said: Mutex::default(),
            span,
            request_bytes: AtomicU64::new(0),
            route: OnceLock::new(),
            attempts: Mutex::default(),
            guests: Mutex::default(),
            status: OnceLock::new(),
        }
    }

    /// When the request came in.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The name by which logs know the request.
    pub(crate) fn request_id(&self) -> Option<&HeaderValue> {
        self.request_id.as_ref()
    }

    /// The request's place in a trace, if there are traces.
    pub(super) fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// Whether its trace is sent.
    pub(super) fn is_traced(&self) -> bool {
        self.trace.as_ref().is_some_and(TraceContext::is_sampled)
    }

    /// A guest logged something.
    pub(super) fn said(&self, said: Said) {
        let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_SAID {
            all.push(said);
        }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// So many more bytes of the request's body were taken.
    pub(super) fn received(&self, bytes: u64) {
        self.request_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The route that took the request.
    pub(crate) fn took(&self, route: &Arc<str>) {
        self.span.record("route", &**route);
        // Nothing is noted twice; should it be, the first note holds.
        let _ = self.route.set(route.clone());
    }

    /// What became of one sending to an upstream.
    pub(super) fn tried(&self, attempt: AttemptNote) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    }

    /// The response has a head.
    pub(crate) fn answered(&self, status: StatusCode) {
        let _ = self.status.set(status);
    }

    /// What a guest took. The innermost is done first.
    pub(super) fn passed(&self, times: GuestTimes) {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner).insert(0, times);
    }

    pub(super) fn outcome(&self, response_bytes: u64, complete: bool) -> RequestOutcome {
        RequestOutcome {
            started: self.started_at,
            duration: self.started.elapsed(),
            client: self.client.addr,
            dropped: self.dropped,
            method: self.method.clone(),
            target: self.target.clone(),
            version: self.version,
            host: self.host.clone(),
            user_agent: self.user_agent.clone(),
            referer: self.referer.clone(),
            request_id: self.request_id.clone(),
            trace: self.trace.clone(),
            said: self.said.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            request_bytes: self.request_bytes.load(Ordering::Relaxed),
            route: self.route.get().cloned(),
            attempts: self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            guests: self.guests.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            status: self.status.get().copied(),
            response_bytes,
            complete,
        }
    }
}
