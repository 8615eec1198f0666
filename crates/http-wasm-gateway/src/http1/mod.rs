//! Strict parsing of HTTP/1.1 messages: where heads, chunks and bodies end.
//!
//! The listener uses it for requests (`listener::http1`), and the proxy for responses ([`response`]). Both write with a
//! [`MessageWriter`].

mod chunked;
mod field;
mod head;
pub(crate) mod response;
mod switched;
mod write_buffer;
mod writer;

pub(crate) use self::chunked::{ChunkFault, ChunkPart, Chunks, Padding};
pub(crate) use self::field::{field, trimmed};
pub(crate) use self::head::{HeadEnd, HeadScan, decimal, fault, is_token, lines};
pub(crate) use self::switched::Switched;
pub(crate) use self::write_buffer::{Coding, content_length, write_field};
pub(crate) use self::writer::{MessageWriter, SentTrailers, WriteError};
