//! What a client gets, and what is logged, when a guest fails.

use http_wasm_host::{BoxError, Error, NoBodyMemory, Phase};

/// Why a guest's call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The guest failed.
    Guest(Error),
    /// The guest failed or wrote too much while its complete response was awaited.
    Streamed(BoxError),
    /// Too many calls are computing already.
    Busy,
    /// The call panicked, which is a bug in the host.
    Panicked,
}

/// `retry-after` in seconds when too many calls are computing, or there is no memory for bodies.
pub(crate) const RETRY_SECONDS: u64 = 1;

impl Failure {
    /// The status of the response.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Guest(error) => error.response().gateway_status.as_u16(),
            Self::Streamed(error) => match error.downcast_ref::<Error>() {
                Some(error) => error.response().gateway_status.as_u16(),
                None if error.is::<NoBodyMemory>() => 503,
                None => 500,
            },
            Self::Busy => 503,
            Self::Panicked => 500,
        }
    }

    /// The seconds after which the client may try again, if the failure is temporary.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Guest(error) => error.response().retry_after,
            Self::Busy => Some(RETRY_SECONDS),
            Self::Streamed(error) => error.is::<NoBodyMemory>().then_some(RETRY_SECONDS),
            Self::Panicked => None,
        }
    }

    /// Logs why the request failed.
    pub(crate) fn log(&self) {
        match self {
            Self::Guest(error) => error.log(""),
            Self::Streamed(error) => tracing::warn!("{error}; the request fails"),
            Self::Busy => {
                tracing::warn!(
                    "too many guest calls have been computing for a long time; the request is \
                     rejected"
                )
            }
            Self::Panicked => tracing::error!("a guest call panicked; the request fails"),
        }
    }
}

/// Logs why a guest failed whose request continues.
pub(crate) fn log_bypassed(error: &Error) {
    error.log(match error.phase() {
        Some(Phase::Response) => "; the response continues unchanged",
        _ => "; the request continues unchanged",
    });
}

/// The `grpc-status` for an HTTP status, with the same mapping as Envoy's.
pub(crate) fn grpc_status(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}
