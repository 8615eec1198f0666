//! What became of sending a request to upstreams.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use opentelemetry::trace::SpanContext;

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
    pub(crate) const ALL: [Self; 8] = [
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
pub(crate) struct UpstreamAttempt {
    pub(crate) upstream: Arc<str>,
    /// The upstream's address that it was sent to, as a URL.
    pub(crate) address: Arc<str>,
    /// Its place in the request's trace, if there are traces.
    pub(crate) span: Option<SpanContext>,
    /// From the request's beginning to this one's.
    pub(crate) began: Duration,
    /// Until the answer's head, or the failure.
    pub(crate) took: Duration,
    /// The answer's status, or why there is none, in words too.
    pub(crate) result: Result<StatusCode, (UpstreamFailure, String)>,
}
