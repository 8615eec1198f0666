//! Requests that the listener refuses.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

/// Whether the listener rejects a request, whatever its handlers return.
#[derive(Clone, Default)]
pub(crate) enum Refused {
    #[default]
    No,
    /// Because of its head.
    Head(StatusCode),
    /// If its body turns out to be too large, too slow or malformed.
    Body(Arc<dyn BodyVerdict>),
}

/// The listener's verdict on a body, once there is a response.
pub(crate) trait BodyVerdict: Send + Sync {
    /// The response head is available: returns what to respond instead, if the body is at fault.
    fn settle(&self) -> Option<StatusCode>;

    /// Lifts the limit on the body's size and returns it. What is left of the body once the response is complete is
    /// then discarded over HTTP/2, in place of a reset.
    fn lift_limit(&self) -> Option<u64>;
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("No"),
            Self::Head(status) => write!(f, "Head({status})"),
            Self::Body(_) => f.write_str("Body"),
        }
    }
}
