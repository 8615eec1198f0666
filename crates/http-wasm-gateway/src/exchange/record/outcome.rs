//! A request that is over, and who observes it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, StatusCode, Version};

use super::attempts::AttemptNote;
use super::guest::{GuestTimes, Said};
use super::trace_context::TraceContext;
use crate::exchange::client::Dropped;

/// What wants to know of requests that are over. It is called on the request's own path, so it must not block.
pub(crate) trait Observe: fmt::Debug + Send + Sync {
    /// A request came in. It will be told to be over exactly once.
    fn started(&self) {}

    /// A request is over.
    fn finished(&self, outcome: &RequestOutcome);
}

/// What is known of a request that is over.
#[derive(Debug, Clone)]
pub(crate) struct RequestOutcome {
    pub(crate) started: SystemTime,
    /// From the request's head to the last byte of the response.
    pub(crate) duration: Duration,
    pub(crate) client: SocketAddr,
    /// Header fields that it came with and that were dropped.
    pub(crate) dropped: Dropped,
    pub(crate) method: Method,
    /// Path and query as they came.
    pub(crate) target: String,
    pub(crate) version: Version,
    /// The host that was asked for.
    pub(crate) host: Option<HeaderValue>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) referer: Option<HeaderValue>,
    /// The name by which logs know the request.
    pub(crate) request_id: Option<HeaderValue>,
    /// Its place in a trace, if there are traces.
    pub(crate) trace: Option<TraceContext>,
    /// What its guests logged, if the trace is sent.
    pub(crate) said: Vec<Said>,
    /// Body bytes that guests or what stands behind them took from the connection.
    pub(crate) request_bytes: u64,
    /// The route that took the request; none when it was turned away before, or fitted none.
    pub(crate) route: Option<Arc<str>>,
    /// The requests that were sent to upstreams for it: none when a guest or the gateway answered, more than one when
    /// it was tried again.
    pub(crate) attempts: Vec<AttemptNote>,
    /// What the guests took, in the order in which they saw the request.
    pub(crate) guests: Vec<GuestTimes>,
    /// None when the client went away before there was one.
    pub(crate) status: Option<StatusCode>,
    /// Body bytes that were handed to the connection.
    pub(crate) response_bytes: u64,
    /// Whether the response's body ended as it should.
    pub(crate) complete: bool,
}

impl RequestOutcome {
    /// How the request went, in a word for logs: the first of these that applies.
    pub(crate) fn word(&self) -> &'static str {
        let upstream_failed = self.attempts.last().is_some_and(|attempt| attempt.result.is_err());
        match self.status {
            None => "abandoned",
            Some(_) if self.guests.iter().any(|guest| guest.failure.is_some()) => "guest_failed",
            Some(_) if upstream_failed => "upstream_failed",
            Some(_) if !self.complete => "incomplete",
            Some(_) => "complete",
        }
    }
}
