//! Records of a guest's calls for a request.

use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

/// How long one guest took for one request, including waits for bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestTimes {
    pub(crate) guest: Arc<str>,
    /// The time from the start of the request until the guest got it.
    pub(crate) began: Duration,
    /// The time from the start of the request until the guest got the response.
    pub(crate) resumed: Option<Duration>,
    /// The guest's time before the request proceeded, or until its own response.
    pub(crate) request: Duration,
    /// The guest's time with the response; `None` if the request didn't proceed.
    pub(crate) response: Option<Duration>,
    /// The kind of failure, if the guest failed and didn't fail open; [`ABANDONED`] if its call was abandoned.
    pub(crate) failure: Option<&'static str>,
}

/// The client disconnected, or a guest in front responded, while the guest's call continued.
pub(super) const ABANDONED: &str = "abandoned";

impl GuestTimes {
    /// Whether this is why the request failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some_and(|failure| failure != ABANDONED)
    }
}

/// A message that a guest logged.
#[derive(Debug, Clone)]
pub(crate) struct GuestMessage {
    /// The time since the start of the request.
    pub(crate) at: Duration,
    pub(crate) guest: String,
    pub(crate) level: Level,
    pub(crate) message: String,
}
