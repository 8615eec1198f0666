//! What is recorded of each request, for metrics, access log and traces.
//!
//! An [`Exchange`] goes with each request. Whoever learns something about it, the router, the guests' wrappers, the
//! proxy, notes it there; when the last byte of the response has gone, or the client has, the observers get it as a
//! [`RequestOutcome`].

mod attempt;
mod attempts;
mod exchange;
mod finish;
mod guest;
mod guest_log;
mod guest_time;
mod outcome;
mod trace_context;

pub(crate) use self::attempt::Attempt;
pub(crate) use self::attempts::{AttemptNote, UpstreamFailure};
pub(crate) use self::exchange::Exchange;
pub(crate) use self::finish::{Finish, received};
pub(crate) use self::guest::{GuestTimes, Said, failure_kind};
pub use self::guest_log::GuestWords;
pub(crate) use self::guest_log::heard;
pub(crate) use self::guest_time::GuestTimer;
pub(crate) use self::outcome::{Observe, RequestOutcome};
pub(crate) use self::trace_context::TraceContext;
