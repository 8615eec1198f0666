//! Heads of responses: what follows them, and those that go on otherwise than they came.

use bytes::{BufMut as _, BytesMut};

use super::super::{Field, decimal, fields};
use super::{Limits, Refused, Request};

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Another head.
    Informational,
    Length(u64),
    Chunked,
    UntilClose,
    /// Another protocol.
    Opaque,
}

/// What a head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) body: Body,
    /// Whether the connection may carry another request.
    pub(super) may_reuse: bool,
    /// What to pass on in its place.
    pub(super) rewritten: Option<BytesMut>,
}

/// The framing fields of a head.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    /// Whether the length is said more than once.
    repeated: bool,
    chunked: bool,
}

impl Head {
    /// Reads a complete head, the response to such a request.
    pub(super) fn parse(head: &[u8], request: Request, limits: &Limits) -> Result<Self, Refused> {
        let (line, fields) = fields(head);
        let (status, is_http10) = status(line).ok_or(Refused::Malformed("an invalid status line"))?;
        let mut framing = Framing::default();
        let mut count = 0;
        for field in fields {
            let field = field.map_err(Refused::Malformed)?;
            field.check().map_err(Refused::Malformed)?;
            count += 1;
            if count > limits.fields {
                return Err(Refused::TooLarge("the head has too many fields"));
            }
            framing.add(&field).map_err(Refused::Malformed)?;
        }
        let Framing { length, repeated, chunked } = framing;
        if chunked && is_http10 {
            return Err(Refused::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        let both = chunked && length.is_some();
        let rewritten = (both || repeated).then(|| rewrite(head, length.filter(|_| !chunked), both));
        let body = match (status, request) {
            (101, _) | (200..=299, Request::Connect) => Body::Opaque,
            (100..=199, _) => Body::Informational,
            (204 | 304, _) | (_, Request::Head) => Body::Length(0),
            _ if chunked => Body::Chunked,
            _ => length.map_or(Body::UntilClose, Body::Length),
        };
        let ends = both || matches!(body, Body::UntilClose | Body::Opaque);
        Ok(Self { body, may_reuse: !ends, rewritten })
    }
}

impl Framing {
    fn add(&mut self, field: &Field<'_>) -> Result<(), &'static str> {
        if field.is("content-length") {
            for length in field.value.split(|&byte| byte == b',') {
                let length = decimal(trimmed(length)).ok_or("an invalid Content-Length")?;
                if self.length.is_some_and(|other| other != length) {
                    return Err("several Content-Length that differ");
                }
                self.repeated |= self.length.is_some();
                self.length = Some(length);
            }
        } else if field.is("transfer-encoding") {
            if self.chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err("a Transfer-Encoding other than chunked");
            }
            self.chunked = true;
        }
        Ok(())
    }
}

/// The status in a status line, and whether it says HTTP/1.0.
fn status(line: &[u8]) -> Option<(u16, bool)> {
    let (version, rest) = line.split_at_checked(b"HTTP/1.1 ".len())?;
    let is_http10 = match version {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return None,
    };
    let (digits, reason) = rest.split_at_checked(3)?;
    let status =
        decimal(digits).and_then(|number| u16::try_from(number).ok()).filter(|&status| status >= 100)?;
    // Some servers leave out the space before a reason that is empty.
    let separated = reason.is_empty() || reason.starts_with(b" ");
    let printable = reason.iter().all(|&byte| byte == b'\t' || byte >= b' ' && byte != 0x7f);
    (separated && printable).then_some((status, is_http10))
}

/// The head with this length and no other, and with the announcement that the connection closes.
fn rewrite(head: &[u8], length: Option<u64>, close: bool) -> BytesMut {
    let (line, fields) = fields(head);
    let mut rewritten = BytesMut::with_capacity(head.len() + 64);
    let mut put = |line: &[u8]| {
        rewritten.put_slice(line);
        rewritten.put_slice(b"\r\n");
    };
    put(line);
    fields.flatten().filter(|field| !field.is("content-length")).for_each(|field| put(field.line));
    if let Some(length) = length {
        put(format!("content-length: {length}").as_bytes());
    }
    if close {
        put(b"connection: close");
    }
    put(b"");
    rewritten
}

/// Without the white space that may stand around an element of a list.
fn trimmed(mut element: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = element {
        element = rest;
    }
    element
}
