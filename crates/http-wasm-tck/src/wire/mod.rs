//! HTTP/1.1 byte by byte, for both ends of the kit: a library would correct what has to be seen.

mod head;
mod read;
mod write;

pub use self::head::Framing;
pub(crate) use self::head::{Fields, Head, values};
pub(crate) use self::read::Reader;
pub(crate) use self::write::{Framed, write_body, write_fields};
