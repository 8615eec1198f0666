//! What is known of each request once it is over: the hook for metrics, access log and traces.
//!
//! An [`Exchange`] goes with each request. Whoever learns something about it, the router, the guests'
//! wrappers, the proxy, notes it there; when the last byte of the response has gone, or the client has, the observers get it as a
//! [`RequestOutcome`].

mod access_log;
mod active;
mod attempt;
mod exchange;
mod finish;
mod guest_time;
mod metrics;
mod monitor;
mod recent;
mod request_id;
#[cfg(test)]
mod tests;
mod traces;
mod watchers;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, StatusCode, Version};

pub(crate) use self::active::{Configured, ConfiguredGuest, ConfiguredRoute, Stage};
pub(crate) use self::attempt::{Attempt, AttemptNote, UpstreamFailure};
pub(crate) use self::exchange::Exchange;
pub(crate) use self::finish::Finish;
pub(crate) use self::guest_time::GuestTimer;
pub(crate) use self::metrics::{CONTENT_TYPE, GuestCounts, RouteCounts, UpstreamCounts, resident_memory};
pub(crate) use self::monitor::{Monitor, Reload};
pub(crate) use self::recent::{RecentError, Source};
pub use self::traces::GuestWords;
pub(crate) use self::traces::heard;
pub(crate) use self::watchers::{Observed, Sinks, Watchers};

use self::traces::{Said, TraceContext};
use crate::inbound::Dropped;

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
    /// The requests that were sent to upstreams for it: none when a guest or the gateway answered, more than one when it was
    /// tried again.
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

/// A number by chance, made of so many bytes.
fn random<const BYTES: usize, T>(number: impl Fn([u8; BYTES]) -> T) -> T {
    let mut bytes = [0; BYTES];
    // A system without chance could not have started: the engine and TLS need it too. Zeros are names all the same.
    let _ = getrandom::fill(&mut bytes);
    number(bytes)
}

/// A time as RFC 3339 says it, in UTC, to the millisecond.
pub(crate) fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

/// What one guest took for one request, waiting for bodies included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestTimes {
    pub(crate) guest: Arc<str>,
    /// From the request's beginning until the guest got it.
    pub(crate) began: Duration,
    /// From the request's beginning until the guest got the response.
    pub(crate) resumed: Option<Duration>,
    /// Its time before the request went on, or until its own answer.
    pub(crate) request: Duration,
    /// Its time with the response; none when the request did not go on.
    pub(crate) response: Option<Duration>,
    /// What kind of failure it was, if the guest failed and that was not excused.
    pub(crate) failure: Option<&'static str>,
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
