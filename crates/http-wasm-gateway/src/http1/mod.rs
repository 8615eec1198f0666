//! HTTP/1.1 messages byte by byte: where heads, chunks and bodies end, read strictly.
//!
//! The listener reads requests with it (`listener::framing`), the proxy responses ([`response`]). Both readers stand in front of
//! hyper, which is more lenient than the RFC allows where two parsers may disagree.

mod chunked;
mod head;
pub(crate) mod response;

pub(crate) use self::chunked::{ChunkFault, Chunks, Padding};
pub(crate) use self::head::{Field, HeadEnd, HeadScan, decimal, fields};
