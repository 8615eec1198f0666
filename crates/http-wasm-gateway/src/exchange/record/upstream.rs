//! The result of sending a request to an upstream.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use opentelemetry::trace::SpanContext;

use super::guest::Culprit;

/// Why an upstream gave no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamFailure {
    /// No connection was established.
    Connect,
    /// It closed the connection, or sent an invalid response.
    Broken,
    /// It didn't start its response in time.
    Timeout,
    /// All of its connections were busy for too long.
    Busy,
    /// It refused the request without processing it.
    Refused,
    /// A head exceeded its limit.
    TooLarge,
    /// The client's body ended prematurely, which isn't the upstream's fault.
    RequestBody,
    /// The response was no longer needed.
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

    /// Whether the upstream, or the way to it, is at fault.
    pub(crate) fn is_upstream_fault(self) -> bool {
        matches!(self, Self::Connect | Self::Broken | Self::Timeout)
    }
}

/// The result of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamAttempt {
    pub(crate) upstream: Arc<str>,
    /// The upstream's address that it was sent to, as a URL.
    pub(crate) address: Arc<str>,
    /// Its span in the request's trace, if there are traces.
    pub(crate) span: Option<SpanContext>,
    /// From the start of the request to the start of this attempt.
    pub(crate) began: Duration,
    /// The time until the response head, or the failure.
    pub(crate) took: Duration,
    /// The status of the response, or why there is none, with a message.
    pub(crate) result: Result<StatusCode, (UpstreamFailure, String)>,
}

impl UpstreamAttempt {
    /// Whose fault it is that there was no response. `None` if there was one, or a guest replaced it.
    pub(super) fn culprit(&self) -> Option<Culprit> {
        match self.result.as_ref().err()?.0 {
            UpstreamFailure::Abandoned => None,
            UpstreamFailure::RequestBody => Some(Culprit::Client),
            _ => Some(Culprit::Upstream),
        }
    }
}
