//! What a client gets when a guest fails, and what the log says.

use http_wasm_host::{BodyKind, Error, ErrorKind, Phase};

/// Why a guest's call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The guest failed.
    Guest(Error),
    /// Too many calls are computing for long.
    Busy,
    /// The call panicked, which is a fault of the host.
    Panicked,
}

/// Seconds after which to retry when too many calls are computing.
const BUSY_SECONDS: u64 = 1;

impl Failure {
    /// The status of the response.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Guest(error) => status(error.kind()),
            Self::Busy => 503,
            Self::Panicked => 500,
        }
    }

    /// The seconds after which to retry, for failures that may pass by themselves.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            // Whole seconds, at least one.
            Self::Guest(error) => Some(error.retry_after()?.as_millis().div_ceil(1000).clamp(1, 3600) as u64),
            Self::Busy => Some(BUSY_SECONDS),
            Self::Panicked => None,
        }
    }

    /// Logs why the request failed.
    pub(crate) fn log(&self) {
        match self {
            Self::Guest(error) => log(error, ""),
            Self::Busy => {
                tracing::warn!("too many guest calls are computing for long; the request is rejected")
            }
            Self::Panicked => tracing::error!("a guest call panicked; the request fails"),
        }
    }
}

/// Logs why a guest failed although its request continues.
pub(crate) fn log_bypassed(error: &Error) {
    let instead = match error.phase() {
        Some(Phase::Response) => "; the response goes out as it came",
        _ => "; the request goes on as it came",
    };
    log(error, instead);
}

fn log(error: &Error, instead: &str) {
    match error.kind() {
        // Peers hang up and send oversized bodies all the time; neither is the guest's fault.
        ErrorKind::Body(_) | ErrorKind::BodyMemory => {
            tracing::debug!(guest = error.guest(), "{error}{instead}")
        }
        ErrorKind::BodyTooLarge(_) => tracing::info!(guest = error.guest(), "{error}{instead}"),
        _ => tracing::error!(guest = error.guest(), backtrace = error.backtrace(), "{error}{instead}"),
    }
}

fn status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::BodyTooLarge(BodyKind::Request) => 413,
        ErrorKind::Body(BodyKind::Request) => 400,
        ErrorKind::BodyTooLarge(BodyKind::Response) | ErrorKind::Body(BodyKind::Response) => 502,
        ErrorKind::Unavailable | ErrorKind::BodyMemory => 503,
        ErrorKind::Deadline => 504,
        _ => 500,
    }
}

/// The status that a gRPC client reads in a response that was not made for it: as Envoy maps its own.
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
