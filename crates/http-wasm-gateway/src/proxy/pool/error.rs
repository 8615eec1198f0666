//! Why a request has no response.

use std::fmt;

use crate::body::BoxError;
use crate::descriptors::is_shortage;
use crate::exchange::UpstreamFailure;

/// Why a request has no response.
#[derive(Debug)]
pub(in crate::proxy) struct SendError {
    pub(in crate::proxy) kind: SendErrorKind,
    source: Option<BoxError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum SendErrorKind {
    /// No connection could be established, so nothing was sent.
    Connect,
    /// All connections are in use, and none became free in time.
    Busy,
    /// The upstream reported that it hasn't processed the request, or the request was never sent. It must not be
    /// retried on this HTTP/2 connection.
    Unprocessed { connection: u64 },
    /// The request's own body failed.
    RequestBody,
    /// The request's head exceeds the limit for this upstream.
    RequestHead,
    /// The response's head exceeds the limit for this upstream.
    ResponseHead,
    /// The response is malformed or ambiguous.
    ResponseInvalid,
    /// An idle connection was closed before any of the response arrived. This happens when the upstream's idle timeout
    /// expires at that moment.
    Stale,
    /// The connection broke, or the received data isn't a response.
    Broken,
    /// The response didn't start in time.
    Timeout,
    /// As `Timeout`, but for an upload that waited for the window that all uploads on its connection share.
    Congested,
}

impl SendErrorKind {
    /// The error for a connection that couldn't be established. A lack of file descriptors isn't the upstream's fault.
    pub(super) fn of_connect(error: &(dyn std::error::Error + 'static)) -> Self {
        if is_shortage(error) { Self::Busy } else { Self::Connect }
    }
}

impl SendError {
    pub(super) fn new(kind: SendErrorKind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// Whether the error indicates that the address is unhealthy.
    pub(in crate::proxy) fn is_unhealthy(&self) -> bool {
        matches!(self.kind, SendErrorKind::Connect | SendErrorKind::Broken | SendErrorKind::Timeout)
    }

    /// The failure as reported to observers.
    pub(in crate::proxy) fn failure(&self) -> UpstreamFailure {
        match self.kind {
            SendErrorKind::Connect => UpstreamFailure::Connect,
            SendErrorKind::Busy | SendErrorKind::Congested => UpstreamFailure::Busy,
            SendErrorKind::Unprocessed { .. } => UpstreamFailure::Refused,
            SendErrorKind::RequestBody => UpstreamFailure::RequestBody,
            SendErrorKind::RequestHead | SendErrorKind::ResponseHead => UpstreamFailure::TooLarge,
            SendErrorKind::ResponseInvalid | SendErrorKind::Stale | SendErrorKind::Broken => {
                UpstreamFailure::Broken
            }
            SendErrorKind::Timeout => UpstreamFailure::Timeout,
        }
    }
}

impl From<SendErrorKind> for SendError {
    fn from(kind: SendErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            SendErrorKind::Connect => "connection failed",
            SendErrorKind::Busy => "all connections are in use",
            SendErrorKind::Unprocessed { .. } => "the upstream refused the request without processing it",
            SendErrorKind::RequestBody => "the request body ended prematurely",
            SendErrorKind::RequestHead => {
                "the request head exceeds `max_request_header_size` or `max_request_field_size`"
            }
            SendErrorKind::ResponseHead => {
                "the response head exceeds `max_response_header_size` or `max_response_headers`"
            }
            SendErrorKind::ResponseInvalid => "the response is invalid",
            SendErrorKind::Stale => "the upstream closed an idle connection",
            SendErrorKind::Broken => "no valid response",
            SendErrorKind::Timeout => "the response didn't start in time",
            SendErrorKind::Congested => "the upload waited too long for others on its connection",
        })
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
