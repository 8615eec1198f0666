//! Why host functions fail, and why guests are stopped, before either is an [`Error`](super::Error).

use std::time::Duration;

use super::kind::ErrorKind;
use crate::abi::BodyKind;
use crate::coding::DecodeError;

/// An error of the embedding program or its HTTP implementation.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A host function's refusal, as passed through wasmtime to [`Error::from_wasmtime`](super::Error::from_wasmtime).
#[derive(Debug, thiserror::Error)]
#[error("{function}: {reason}")]
pub(crate) struct CallError {
    pub(crate) function: &'static str,
    pub(crate) reason: Reason,
}

/// The guest's time is up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("exceeded its compute limit of {0:?} and was stopped")]
    Computed(Duration),
    #[error("exceeded its time limit of {0:?}, including waiting, and was stopped")]
    Took(Duration),
}

/// Why a [`Host`](crate::Host) can't accept a value. The text continues a sentence that begins with "the value", as in
/// `Refused("is not a path with an optional query")`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub &'static str);

/// Why a host function refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    #[error("{argument} is out of bounds: {len} bytes at offset {offset} of a memory of {memory} bytes")]
    OutOfBounds { argument: &'static str, offset: u32, len: u32, memory: usize },
    #[error("the module exports no memory")]
    NoMemory,
    #[error(
        "no request yet: only enable_features, get_config, log and log_enabled work while an instance starts"
    )]
    NoRequest,
    #[error("{argument} is empty")]
    Empty { argument: &'static str },
    #[error("{argument} is not a valid {what}: {value}")]
    Invalid { argument: &'static str, what: &'static str, value: String },
    #[error("unknown {argument} {value}")]
    UnknownKind { argument: &'static str, value: u32 },
    #[error("buf_limit is 0: there is no room to read into")]
    NoRoom,
    #[error("status {0} is outside 100..=999")]
    Status(u32),
    #[error("{0}")]
    WrongPhase(&'static str),
    #[error("the value is longer than the 4 GiB that a guest can address")]
    TooLongForGuest,
    #[error("the value {}", .0.0)]
    Refused(Refused),
    #[error("{what} would exceed the limit of {limit}")]
    Limit { what: &'static str, limit: usize },
    #[error("the {} body exceeds the replay limit of {limit} bytes (`replay_bytes`)", kind.name())]
    BodyTooLarge { kind: BodyKind, limit: usize },
    #[error("the {} body can't be decoded: {error} (`decoded_ratio`)", kind.name())]
    Bomb { kind: BodyKind, error: DecodeError },
    #[error("the {} body can't be decoded: {why}", kind.name())]
    Undecodable { kind: BodyKind, why: &'static str },
    #[error("reading the {} body failed: {source}", kind.name())]
    Body { kind: BodyKind, source: BoxError },
    #[error("the memory budget for the bodies of all requests is used up")]
    BodyMemory,
    #[error("exit code {0}")]
    Exit(u32),
    /// What a recorded call said.
    #[error("{0}")]
    Replayed(String),
    #[error("{0}")]
    Internal(&'static str),
}

impl Reason {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfBounds { .. }
            | Self::NoMemory
            | Self::NoRequest
            | Self::Empty { .. }
            | Self::Invalid { .. }
            | Self::UnknownKind { .. }
            | Self::NoRoom
            | Self::Status(_)
            | Self::WrongPhase(_)
            | Self::Refused(_)
            | Self::Replayed(_)
            | Self::TooLongForGuest => ErrorKind::HostCall,
            Self::Limit { .. } => ErrorKind::Limit,
            Self::Undecodable { kind, .. } => ErrorKind::Undecodable(*kind),
            Self::BodyTooLarge { kind, .. } | Self::Bomb { kind, .. } => ErrorKind::BodyTooLarge(*kind),
            Self::Body { kind, .. } => ErrorKind::Body(*kind),
            Self::BodyMemory => ErrorKind::BodyMemory,
            Self::Exit(_) => ErrorKind::Exit,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn refused(refused: Refused) -> Self {
        Self::Refused(refused)
    }

    /// A [`Reason::Invalid`] that shows `value` in printable form and with limited length.
    pub(crate) fn invalid(argument: &'static str, what: &'static str, value: &[u8]) -> Self {
        const SHOWN: usize = 64;
        let shown = value[..value.len().min(SHOWN)].escape_ascii();
        let more = if value.len() > SHOWN { "…" } else { "" };
        Self::Invalid { argument, what, value: format!("\"{shown}\"{more}") }
    }
}
