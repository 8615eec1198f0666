//! One sending of a request to an upstream.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use opentelemetry::trace::SpanContext;

use super::Exchange;

/// Why an upstream gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamFailure {
    /// No connection came about.
    Connect,
    /// It broke the connection off, or what it sent is no answer.
    Broken,
    /// It did not begin its answer in time.
    Timeout,
    /// All connections that it may have were in use for too long.
    Busy,
    /// It refused the request unprocessed.
    Refused,
    /// A head was larger than it may be.
    TooLarge,
    /// The client's body broke off, which is not the upstream's fault.
    RequestBody,
    /// Nobody waits for the answer any more.
    Abandoned,
}

impl UpstreamFailure {
    pub(super) const ALL: [Self; 8] = [
        Self::Connect,
        Self::Broken,
        Self::Timeout,
        Self::Busy,
        Self::Refused,
        Self::TooLarge,
        Self::RequestBody,
        Self::Abandoned,
    ];

    /// Its name in metrics and traces.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::RequestBody => "request_body",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether the upstream is to blame, or the way to it.
    pub(crate) fn is_upstreams(self) -> bool {
        matches!(self, Self::Connect | Self::Broken | Self::Timeout)
    }
}

/// What became of one sending.
#[derive(Debug, Clone)]
pub(crate) struct AttemptNote {
    pub(crate) upstream: Arc<str>,
    /// The upstream's address that it was sent to, as a URL.
    pub(crate) address: Arc<str>,
    /// Its place in the request's trace, if there are traces.
    pub(super) span: Option<SpanContext>,
    /// From the request's beginning to this one's.
    pub(crate) began: Duration,
    /// Until the answer's head, or the failure.
    pub(crate) took: Duration,
    /// The answer's status, or why there is none, in words too.
    pub(crate) result: Result<StatusCode, (UpstreamFailure, String)>,
}

/// Notes what becomes of one sending; dropped without an end, it was abandoned.
#[derive(Debug)]
pub(crate) struct Attempt(Option<Open>);

#[derive(Debug)]
struct Open {
    exchange: Arc<Exchange>,
    upstream: Arc<str>,
    address: Arc<str>,
    span: Option<SpanContext>,
    started: Instant,
}

impl Attempt {
    /// Of a request as it is about to be sent. Where there are traces, its `traceparent` names this sending afterwards.
    pub(crate) fn begin<B>(
        request: &mut Request<B>,
        exchange: Option<&Arc<Exchange>>,
        upstream: &Arc<str>,
        address: &Arc<str>,
    ) -> Self {
        Self(exchange.cloned().map(|exchange| {
            let span = exchange.trace().map(|trace| trace.child(request.headers_mut()));
            let (upstream, address) = (upstream.clone(), address.clone());
            Open { exchange, upstream, address, span, started: Instant::now() }
        }))
    }

    /// The answer's head is there.
    pub(crate) fn answered(mut self, status: StatusCode) {
        self.end(|| Ok(status));
    }

    /// There will be no answer.
    pub(crate) fn failed(mut self, kind: UpstreamFailure, why: &(dyn StdError + 'static)) {
        self.end(|| Err((kind, crate::error::Causes(why).to_string())));
    }

    fn end(&mut self, result: impl FnOnce() -> Result<StatusCode, (UpstreamFailure, String)>) {
        if let Some(Open { exchange, upstream, address, span, started }) = self.0.take() {
            let (began, took) = (started - exchange.started(), started.elapsed());
            exchange.tried(AttemptNote { upstream, address, span, began, took, result: result() });
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(|| Err((UpstreamFailure::Abandoned, "nobody waited for the answer".to_owned())));
    }
}
