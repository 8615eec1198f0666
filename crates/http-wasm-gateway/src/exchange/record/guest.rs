//! What is recorded of a guest's part in a request.

use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

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

/// A message that a guest logged.
#[derive(Debug, Clone)]
pub(crate) struct GuestMessage {
    /// Since the request's beginning.
    pub(crate) at: Duration,
    pub(crate) guest: String,
    pub(crate) level: Level,
    pub(crate) message: String,
}
