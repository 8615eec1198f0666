//! Strict parsing of HTTP/1.1 messages: where heads, chunks and bodies end.
//!
//! The listener uses it for requests (`listener::framing`), before hyper, which is more lenient than is safe when two
//! parsers may disagree. The proxy uses it for responses ([`response`]), on its own connections.

mod chunked;
mod field;
mod head;
pub(crate) mod response;

pub(crate) use self::chunked::{ChunkFault, ChunkPart, Chunks, Padding};
pub(crate) use self::head::{HeadEnd, HeadScan, decimal, fields, is_token, lines};
