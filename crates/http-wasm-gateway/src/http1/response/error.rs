//! Why responses are rejected.

use thiserror::Error;

use crate::http1::ChunkFault;

/// Why a response is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ResponseError {
    /// It is malformed, or its end is ambiguous.
    #[error("malformed response: {0}")]
    Malformed(&'static str),
    /// Its head or its trailers exceed the limits.
    #[error("response too large: {0}")]
    TooLarge(&'static str),
    /// It ended prematurely.
    #[error("incomplete response: {0}")]
    Incomplete(&'static str),
}

impl From<ChunkFault> for ResponseError {
    fn from(fault: ChunkFault) -> Self {
        match fault {
            ChunkFault::Malformed(reason) => Self::Malformed(reason),
            ChunkFault::TooLarge(reason) => Self::TooLarge(reason),
        }
    }
}
