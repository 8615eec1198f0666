//! Request heads: their end, and the framing that they declare.

use bytes::{Buf as _, BytesMut};

use crate::http1::{HeadEnd, HeadScan, decimal, fields, is_token};

/// The result of a search for a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Partial,
    Complete {
        bytes: usize,
        length: Length,
        /// Whether the request is for an upgrade to another protocol.
        upgrades: bool,
    },
    Malformed(&'static str),
}

/// The length of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Chunked,
}

/// Searches for the end of the head at the start of `input`. Empty lines before it are dropped (RFC 9112 section 2.2).
pub(super) fn scan(search: &mut HeadScan, input: &mut BytesMut) -> Scanned {
    loop {
        match search.find(input) {
            // This can't become a request: it is TLS, or HTTP/2 without its preface.
            Ok(HeadEnd::Partial) if !input.first().is_none_or(|&first| first == b'\r' || is_token(first)) => {
                return Scanned::Malformed("it does not start with a valid method");
            }
            Ok(HeadEnd::Partial) => return Scanned::Partial,
            Ok(HeadEnd::EmptyLine) => {
                input.advance(2);
                *search = HeadScan::default();
            }
            Ok(HeadEnd::At(bytes)) => {
                return match framing(&input[..bytes]) {
                    Ok((length, upgrades)) => Scanned::Complete { bytes, length, upgrades },
                    Err(reason) => Scanned::Malformed(reason),
                };
            }
            Err(reason) => return Scanned::Malformed(reason),
        }
    }
}

/// The framing that a head declares. hyper checks the rest of the syntax.
fn framing(head: &[u8]) -> Result<(Length, bool), &'static str> {
    let (start, fields) = fields(head);
    let mut upgrades = start.starts_with(b"CONNECT ");
    let (mut content_length, mut chunked) = (None, false);
    for field in fields {
        let field = field?;
        if field.is("content-length") {
            if content_length.is_some() {
                return Err("more than one Content-Length");
            }
            content_length = Some(decimal(field.value).ok_or("an invalid Content-Length")?);
        } else if field.is("transfer-encoding") {
            if chunked {
                return Err("more than one Transfer-Encoding");
            }
            if !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err("a Transfer-Encoding other than chunked");
            }
            chunked = true;
        } else if field.is("upgrade") {
            upgrades = true;
        }
    }
    match (content_length, chunked) {
        (Some(_), true) => Err("both Content-Length and Transfer-Encoding"),
        (None, true) if start.ends_with(b"HTTP/1.0") => Err("Transfer-Encoding in HTTP/1.0"),
        (None, true) => Ok((Length::Chunked, upgrades)),
        (length, false) => Ok((Length::Known(length.unwrap_or(0)), upgrades)),
    }
}
