//! The one body type that all handlers of the command share.

use bytes::Bytes;
use http_body::Body;

pub(crate) use http_wasm_tower::{Body as BoxBody, BoxError};

/// Boxes a body, unless it is boxed already.
pub(crate) fn boxed<B>(body: B) -> BoxBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    BoxBody::new(body)
}

/// A body of no bytes.
pub(crate) fn empty() -> BoxBody {
    BoxBody::empty()
}

/// A body of these bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> BoxBody {
    BoxBody::from(bytes.into())
}
