//! Content codings: what `content-encoding` and `accept-encoding` say, and bodies decoded and encoded as they stream.
//!
//! Bytes in, bytes out: nothing here knows messages or guests.
//!
//! Source: RFC 9110, sections 8.4 and 12.5.3; RFC 1950 to 1952; RFC 7932; RFC 8878 and 9659.

mod accept;
mod decode;
mod encode;
mod error;
mod list;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use self::accept::{Acceptable, reduce};
pub(crate) use self::encode::Encoder;
pub(crate) use self::error::DecodeError;
pub(crate) use self::list::{Coding, Codings, List};
pub(crate) use self::stream::{Decoder, Pulled};
