//! Content codings: parses `content-encoding` and `accept-encoding`, and decodes and encodes bodies as they stream.
//!
//! This module works on bytes only, independently of messages and guests.
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
