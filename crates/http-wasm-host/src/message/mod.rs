//! What messages are made of: header fields, bytes of bodies, trailers.

pub(crate) mod body_budget;
mod chunks;
mod discard;
mod fields;
pub(crate) mod trailers;

pub use self::chunks::Chunks;
pub use self::discard::Discard;
pub use self::fields::Fields;
pub use self::trailers::Trailers;
