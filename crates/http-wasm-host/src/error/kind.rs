//! Kinds of failures, and how servers respond to them.

use std::time::Duration;

use http::StatusCode;
use tracing::Level;

use crate::abi::BodyKind;

/// When what ran short may be available again: as soon as a request ends.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The codings that can be decoded.
const ACCEPTED: &str = "gzip, deflate, br, zstd";

/// The kind of failure of an [`Error`](crate::Error).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The guest's own code trapped: `unreachable`, division by zero, stack overflow, an access out of bounds, …
    Trap,
    /// The guest called a host function in a way that the ABI forbids.
    HostCall,
    /// The guest called `proc_exit`.
    Exit,
    /// The guest computed or waited for longer than its limit.
    Deadline,
    /// The guest made the host hold more than a limit allows.
    Limit,
    /// A message's body was too long to keep for replay.
    BodyTooLarge(BodyKind),
    /// A message's body has a content coding that can't be decoded, or is a part of one (see
    /// [`Bodies::Decoded`](crate::Bodies::Decoded)).
    Undecodable(BodyKind),
    /// A message's body ended in an error while the guest read it.
    Body(BodyKind),
    /// There was no instance for the request, or no memory for it. A later request may succeed.
    Unavailable,
    /// The bodies that are held for all requests take too much memory together; see
    /// [`EngineBuilder::body_memory_budget`]. A later request may succeed.
    ///
    /// [`EngineBuilder::body_memory_budget`]: crate::EngineBuilder::body_memory_budget
    BodyMemory,
    /// A fault of the host.
    Internal,
}

/// How an HTTP server responds to a failure, and at which level it logs it.
///
/// [`ErrorKind::response`] is the only table of these, so that all adapters treat a new kind of failure alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureResponse {
    /// The status from a service that contains the guest. The error's text isn't meant for clients.
    pub status: StatusCode,
    /// The status from a gateway, whose callers distinguish "too slow" (504) from "broken" (500).
    pub gateway_status: StatusCode,
    /// The value of `Retry-After` in seconds, from 1 to 3600, for failures that may be temporary.
    pub retry_after: Option<u64>,
    /// The value of `Accept-Encoding` in the response, which says what the sender may use instead.
    pub accept_encoding: Option<&'static str>,
    /// The level at which the error is logged. Below ERROR, it isn't the guest's fault and may happen often.
    pub log_level: Level,
}

const fn response(status: StatusCode, log_level: Level) -> FailureResponse {
    FailureResponse { status, gateway_status: status, retry_after: None, accept_encoding: None, log_level }
}

impl ErrorKind {
    /// Returns how an HTTP server responds to a failure of this kind. [`Error::response`](crate::Error::response) also
    /// takes into account how long the failure may last.
    ///
    /// | kind | status | logged at |
    /// | --- | --- | --- |
    /// | [`BodyTooLarge`](Self::BodyTooLarge) | 413 for a request, 502 for a response | INFO |
    /// | [`Undecodable`](Self::Undecodable) | 415 with `Accept-Encoding` for a request, 502 for a response | INFO |
    /// | [`Body`](Self::Body) | 400 for a request, 502 for a response | DEBUG |
    /// | [`BodyMemory`](Self::BodyMemory) | 503 with `Retry-After` | DEBUG |
    /// | [`Unavailable`](Self::Unavailable) | 503 with `Retry-After` | ERROR, or DEBUG if memory has run out |
    /// | [`Deadline`](Self::Deadline) | 500, from a gateway 504 | ERROR |
    /// | all others | 500 | ERROR |
    pub const fn response(self) -> FailureResponse {
        // There is no `_` arm, so that a new kind has to be considered here.
        match self {
            Self::Trap | Self::HostCall | Self::Exit | Self::Limit | Self::Internal => {
                response(StatusCode::INTERNAL_SERVER_ERROR, Level::ERROR)
            }
            Self::Deadline => FailureResponse {
                gateway_status: StatusCode::GATEWAY_TIMEOUT,
                ..response(StatusCode::INTERNAL_SERVER_ERROR, Level::ERROR)
            },
            Self::Unavailable => FailureResponse {
                retry_after: Some(RETRY_AFTER.as_secs()),
                ..response(StatusCode::SERVICE_UNAVAILABLE, Level::ERROR)
            },
            // The budget's own warning says how many there are.
            Self::BodyMemory => FailureResponse {
                retry_after: Some(RETRY_AFTER.as_secs()),
                ..response(StatusCode::SERVICE_UNAVAILABLE, Level::DEBUG)
            },
            // Peers send oversized bodies and hang up all the time.
            Self::BodyTooLarge(BodyKind::Request) => response(StatusCode::PAYLOAD_TOO_LARGE, Level::INFO),
            Self::BodyTooLarge(BodyKind::Response) => response(StatusCode::BAD_GATEWAY, Level::INFO),
            Self::Undecodable(BodyKind::Request) => FailureResponse {
                accept_encoding: Some(ACCEPTED),
                ..response(StatusCode::UNSUPPORTED_MEDIA_TYPE, Level::INFO)
            },
            Self::Undecodable(BodyKind::Response) => response(StatusCode::BAD_GATEWAY, Level::INFO),
            Self::Body(BodyKind::Request) => response(StatusCode::BAD_REQUEST, Level::DEBUG),
            Self::Body(BodyKind::Response) => response(StatusCode::BAD_GATEWAY, Level::DEBUG),
        }
    }

    /// Whether it is a failure of the guest, which is excused for a guest that fails open. A body that is too long,
    /// ends prematurely or can't be decoded must be reported to its sender.
    pub(crate) fn is_guest_fault(self) -> bool {
        !matches!(self, Self::BodyTooLarge(_) | Self::Body(_) | Self::Undecodable(_))
    }

    pub(super) fn retry_after(self) -> Option<Duration> {
        self.response().retry_after.map(Duration::from_secs)
    }
}

/// Defines the name of each kind, and lists the names.
macro_rules! names {
    ($($kind:pat => $name:literal,)*) => {
        impl ErrorKind {
            /// All values that [`name`](Self::name) returns.
            pub const NAMES: [&str; [$($name),*].len()] = [$($name),*];

            /// Returns a name for metrics and logs, such as "host_call".
            pub const fn name(self) -> &'static str {
                match self {
                    $($kind => $name,)*
                }
            }
        }
    };
}

names! {
    Self::Trap => "trap",
    Self::HostCall => "host_call",
    Self::Exit => "exit",
    Self::Deadline => "deadline",
    Self::Limit => "limit",
    Self::BodyTooLarge(_) => "body_too_large",
    Self::Undecodable(_) => "undecodable",
    Self::Body(_) => "body",
    Self::Unavailable => "unavailable",
    Self::BodyMemory => "body_memory",
    Self::Internal => "internal",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_kinds_have_distinct_names() {
        let names = std::collections::BTreeSet::from(ErrorKind::NAMES);
        assert_eq!(names.len(), ErrorKind::NAMES.len());
    }

    #[test]
    fn an_undecodable_coding_is_answered_with_the_supported_ones() {
        let names = crate::coding::Coding::ALL.map(crate::coding::Coding::name).join(", ");
        let refused = ErrorKind::Undecodable(BodyKind::Request).response();
        assert_eq!((refused.status.as_u16(), refused.accept_encoding), (415, Some(&*names)));
        let refused = ErrorKind::Undecodable(BodyKind::Response).response();
        assert_eq!((refused.status.as_u16(), refused.accept_encoding), (502, None));
    }

    #[test]
    fn only_transient_errors_have_a_retry_after() {
        for kind in [ErrorKind::Unavailable, ErrorKind::BodyMemory] {
            assert_eq!((kind.response().status.as_u16(), kind.response().retry_after), (503, Some(1)));
        }
        let slow = ErrorKind::Deadline.response();
        assert_eq!((slow.status.as_u16(), slow.gateway_status.as_u16()), (500, 504));
        assert_eq!(slow.retry_after, None);
    }
}
