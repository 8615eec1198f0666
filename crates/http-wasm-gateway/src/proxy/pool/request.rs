//! Requests on their way to an upstream, and how they are sent.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use crate::exchange::Interims;
use crate::proxy::replay::Replayed;
use crate::proxy::timeout::{ResponseTimer, TimedBody};

/// The body of a request on its way to an upstream.
pub(in crate::proxy) type RequestBody = TimedBody<Replayed>;

/// A request on its way to an upstream. `Host` and `:authority` are the upstream's unless `headers` have a `Host`.
#[derive(Debug)]
pub(in crate::proxy) struct Outbound<'a> {
    pub(in crate::proxy) method: &'a Method,
    pub(in crate::proxy) target: PathAndQuery,
    pub(in crate::proxy) headers: &'a HeaderMap,
    pub(in crate::proxy) body: RequestBody,
}

/// How a request is to be sent.
#[derive(Debug)]
pub(in crate::proxy) struct Sending<'a> {
    /// Whether it must be in HTTP/1.1.
    pub(in crate::proxy) http1: bool,
    /// Whether it must be on a connection that nothing was sent on yet, as far as HTTP/1.1 is concerned.
    pub(in crate::proxy) fresh: bool,
    /// The HTTP/2 connection that it must not be sent on if there can be another.
    pub(in crate::proxy) avoid: Option<u64>,
    /// Whose turn it is, as the request's body notes it.
    pub(in crate::proxy) response_timer: &'a ResponseTimer,
    /// How long it may be the upstream's turn.
    pub(in crate::proxy) response_timeout: Duration,
    /// How long it may wait for a stream; absent, as long as for a connection.
    pub(in crate::proxy) queue_timeout: Option<Duration>,
    /// Where informational responses go.
    pub(in crate::proxy) interims: Option<&'a Interims>,
}
