//! Requests that the listener rejects.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

/// Whether the listener rejects a request, whatever its handlers return.
#[derive(Clone, Default)]
pub(crate) enum Refused {
    #[default]
    No,
    /// Rejected because of its head.
    Head(StatusCode),
    /// Rejected if its body turns out to be too large, too slow or malformed.
    Body(Arc<dyn BodyVerdict>),
}

/// The listener's verdict on a body, once there is a response.
pub(crate) trait BodyVerdict: Send + Sync {
    /// Called when the response head is available. Returns the status to respond with instead, if the body is at fault.
    fn settle(&self) -> Option<StatusCode>;

    /// Lifts the limit on the body's size and returns it. The rest of the body is then discarded over HTTP/2 when the
    /// response is complete, instead of the stream being reset.
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
