//! What is known of each request once it is over: the hook for metrics, access log and traces.
//!
//! An [`Exchange`] goes with each request in its extensions. Whoever learns something about it, the router, the guests'
//! wrappers, the proxy, notes it there; when the last byte of the response has gone, or the client has, the observers get it as a
//! [`RequestOutcome`].

mod exchange;
mod finish;
mod guest_time;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Version};

pub(crate) use self::exchange::Exchange;
pub(crate) use self::finish::observed;
pub(crate) use self::guest_time::{AroundGuest, BehindGuest};

/// What wants to know of requests that are over. It is called on the request's own path, so it must not block.
pub(crate) trait Observe: fmt::Debug + Send + Sync {
    /// A request is over.
    fn finished(&self, outcome: &RequestOutcome);
}

/// What is known of a request that is over.
#[derive(Debug, Clone)]
#[expect(dead_code, reason = "read by observers, of which there are none yet outside tests")]
pub(crate) struct RequestOutcome {
    pub(crate) started: SystemTime,
    /// From the request's head to the last byte of the response.
    pub(crate) duration: Duration,
    pub(crate) client: SocketAddr,
    pub(crate) method: Method,
    /// Path and query as they came.
    pub(crate) target: String,
    pub(crate) version: Version,
    /// The route that took the request; none when it was turned away before, or fitted none.
    pub(crate) route: Option<Arc<str>>,
    /// The upstream that the request was sent to; none when a guest or the gateway answered.
    pub(crate) upstream: Option<Arc<str>>,
    /// What the guests took, in the order in which they saw the request.
    pub(crate) guests: Vec<GuestTimes>,
    /// None when the client went away before there was one.
    pub(crate) status: Option<StatusCode>,
    /// Body bytes that were handed to the connection.
    pub(crate) response_bytes: u64,
    /// Whether the response's body ended as it should.
    pub(crate) complete: bool,
}

/// What one guest took for one request, waiting for bodies included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestTimes {
    pub(crate) guest: Arc<str>,
    /// Its time before the request went on, or until its own answer.
    pub(crate) request: Duration,
    /// Its time with the response; none when the request did not go on.
    pub(crate) response: Option<Duration>,
}
