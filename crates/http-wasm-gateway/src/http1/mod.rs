//! HTTP/1.1 messages byte by byte: where heads, chunks and bodies end, read strictly.
//!
//! The listener reads requests with it (`listener::framing`), in front of hyper, which is more lenient than the RFC
//! allows where two parsers may disagree. The proxy reads responses with it ([`response`]), on connections of its own.

mod chunked;
mod head;
pub(crate) mod response;

pub(crate) use self::chunked::{ChunkFault, ChunkPart, Chunks, Padding};
pub(crate) use self::head::{HeadEnd, HeadScan, decimal, fields, lines};
