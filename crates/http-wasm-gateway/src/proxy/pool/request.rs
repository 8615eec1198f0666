//! Requests to an upstream, and how they are sent.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use crate::exchange::Interims;
use crate::proxy::replay::Replayed;
use crate::proxy::timeout::TimedBody;

/// The body of a request that is being sent to an upstream.
pub(in crate::proxy) type RequestBody = TimedBody<Replayed>;

/// A request to an upstream. `Host` and `:authority` are the upstream's unless `headers` has a `Host`.
#[derive(Debug)]
pub(in crate::proxy) struct Outbound<'a> {
    pub(in crate::proxy) method: &'a Method,
    pub(in crate::proxy) target: PathAndQuery,
    pub(in crate::proxy) headers: &'a HeaderMap,
    pub(in crate::proxy) body: Replayed,
}

/// How to send a request.
#[derive(Debug)]
pub(in crate::proxy) struct Sending<'a> {
    /// Whether it must use HTTP/1.1.
    pub(in crate::proxy) http1: bool,
    /// Whether it needs a connection on which nothing has been sent yet. This only applies to HTTP/1.1.
    pub(in crate::proxy) fresh: bool,
    /// An HTTP/2 connection to avoid, if another can be used.
    pub(in crate::proxy) avoid: Option<u64>,
    /// How long the upstream may take while it is expected to act.
    pub(in crate::proxy) response_timeout: Duration,
    /// Whether the rest of the request is sent even if the response is complete. In HTTP/1.1, it always is.
    pub(in crate::proxy) outlasts_response: bool,
    /// How long the request may wait for a stream. By default, this is the connect timeout.
    pub(in crate::proxy) queue_timeout: Option<Duration>,
    /// Where informational responses are sent.
    pub(in crate::proxy) interims: Option<&'a Interims>,
}
