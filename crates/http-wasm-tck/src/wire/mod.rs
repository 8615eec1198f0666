//! HTTP/1.1 byte by byte, for the kit's client and backend: a library would hide the errors that the kit must detect.

mod head;
mod read;
mod write;

pub use self::head::Framing;
pub(crate) use self::head::{Fields, Head, values};
pub(crate) use self::read::Reader;
pub(crate) use self::write::{Framed, write_body, write_fields};
