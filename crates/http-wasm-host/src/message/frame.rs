//! Bodies as they are received.

use bytes::Bytes;

use super::Fields;

/// A piece of a body as it was received.
#[derive(Debug)]
pub enum Frame {
    /// Bytes of the body.
    Data(Bytes),
    /// The trailers, after the last byte.
    Trailers(Fields),
}

impl Frame {
    pub(crate) fn into_trailers(self) -> Option<Fields> {
        match self {
            Self::Data(_) => None,
            Self::Trailers(fields) => Some(fields),
        }
    }
}
