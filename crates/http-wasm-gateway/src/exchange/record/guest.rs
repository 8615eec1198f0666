//! Records of a guest's calls for a request.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_wasm_tower::ErrorKind;
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
    /// Why its call failed, unless it failed open.
    pub(crate) failure: Option<GuestFailure>,
}

/// Why a guest's call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuestFailure {
    Failed(ErrorKind),
    /// The client disconnected, or a guest in front responded, while the guest's call continued.
    Abandoned,
}

/// Whose fault it is that a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Culprit {
    Client,
    Guest,
    Upstream,
}

impl GuestFailure {
    /// Its name in logs and traces.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Failed(kind) => kind.name(),
            Self::Abandoned => "abandoned",
        }
    }

    /// Whose fault this is. `None` if this isn't why the request failed.
    pub(crate) fn culprit(self) -> Option<Culprit> {
        match self {
            Self::Failed(kind) => Some(Culprit::of(kind)),
            Self::Abandoned => None,
        }
    }
}

impl Culprit {
    /// Whose fault it is that a guest's call failed like this. A body that can't be read is its sender's, as the status
    /// of the response says.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        let status = kind.response().gateway_status;
        if status.is_client_error() {
            Self::Client
        } else if status == StatusCode::BAD_GATEWAY {
            Self::Upstream
        } else {
            Self::Guest
        }
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
