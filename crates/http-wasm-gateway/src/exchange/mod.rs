//! A request and its response in the gateway, as shared by the listener, routes, upstreams and observers.

mod abandoned;
mod answer;
mod arrival;
mod client;
mod inbound;
mod interims;
mod record;
mod refused;
mod response;
mod tunnel;

pub(crate) use self::abandoned::{Abandoned, AbandonedCalls, Share};
pub(crate) use self::answer::Answer;
pub(crate) use self::arrival::{Arrival, ListenerId};
pub(crate) use self::client::{Client, Dropped};
pub(crate) use self::inbound::{FEW_REQUESTS, Inbound};
pub(crate) use self::interims::Interims;
pub use self::record::GuestLogLayer;
pub(crate) use self::record::{
    Attempt, Culprit, Finish, FinishedRequest, GuestFailure, GuestMessage, GuestTimer, GuestTimes,
    RequestObserver, RequestRecord, TraceContext, UpstreamAttempt, UpstreamFailure, received, with_guest_log,
};
pub(crate) use self::refused::{BodyVerdict, Refused};
pub(crate) use self::response::{
    content, no_tunnel, plain_text, refusal, refusal_text, too_large, unavailable,
};
pub(crate) use self::tunnel::{ClientSide, TunnelLimits, Upgraded, aborted};
