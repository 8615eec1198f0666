//! The records of requests, for metrics, the access log and traces.
//!
//! Each request has a [`RequestRecord`], to which the router, the guests' wrappers and the proxy add facts. When the
//! last byte of the response has been sent, or the client has disconnected, the observers get it as a
//! [`FinishedRequest`].

mod attempt;
mod finish;
mod finished;
mod guest;
mod guest_log;
mod guest_timer;
mod request;
mod trace_context;
mod upstream;

pub(crate) use self::attempt::Attempt;
pub(crate) use self::finish::{Finish, received};
pub(crate) use self::finished::{FinishedRequest, RequestObserver};
pub(crate) use self::guest::{Culprit, GuestFailure, GuestMessage, GuestTimes};
pub use self::guest_log::GuestLogLayer;
pub(crate) use self::guest_log::with_guest_log;
pub(crate) use self::guest_timer::GuestTimer;
pub(crate) use self::request::RequestRecord;
pub(crate) use self::trace_context::TraceContext;
pub(crate) use self::upstream::{UpstreamAttempt, UpstreamFailure};
