//! The parts of messages: header fields, bodies, trailers.

pub(crate) mod body_budget;
mod chunks;
mod delivery;
mod discard;
mod fields;
mod frame;
mod outgoing;
mod recode;
mod streamed;
pub(crate) mod trailers;

pub use self::chunks::Chunks;
pub(crate) use self::delivery::Delivery;
pub use self::discard::Discard;
pub use self::fields::{Fields, HeaderChange};
pub use self::frame::Frame;
pub use self::outgoing::{Outgoing, Rest};
pub use self::recode::Recode;
pub use self::streamed::Streamed;
pub(crate) use self::streamed::{Source, StreamWriter, driven_by_receiver, driven_separately};
pub use self::trailers::Trailers;
