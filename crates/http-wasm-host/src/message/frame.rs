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
