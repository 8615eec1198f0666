//! Response heads, and what follows them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, Version, header};

use super::error::ResponseError;
use super::limits::ResponseLimits;
use crate::http1::field::{field, trimmed};
use crate::http1::{decimal, lines};

/// The number of fields to reserve room for.
const USUAL_FIELDS: usize = 12;

/// What a response's body depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Ordinary,
    Head,
    Connect,
}

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

/// The result of reading a head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    /// The fields, with at most one `Content-Length`, and none in a chunked response.
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// Whether the connection may carry another request.
    pub(super) may_reuse: bool,
}

/// The framing fields of a head.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    /// Whether the length is declared more than once.
    repeated: bool,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Head {
    /// Parses a complete head, in response to a request of this kind.
    pub(super) fn parse(
        head: &Bytes,
        request: Request,
        limits: &ResponseLimits,
    ) -> Result<Self, ResponseError> {
        let mut lines = lines(head);
        let line = lines.next().unwrap_or(Ok(b"")).map_err(ResponseError::Malformed)?;
        let (status, version) = status(line).ok_or(ResponseError::Malformed("an invalid status line"))?;
        let mut framing = Framing::default();
        let mut headers = HeaderMap::with_capacity(USUAL_FIELDS);
        let mut count = 0;
        for line in lines {
            let (name, value) = line.and_then(|line| field(line, head)).map_err(ResponseError::Malformed)?;
            count += 1;
            if count > limits.fields {
                return Err(ResponseError::TooLarge("the head has too many fields"));
            }
            framing.add(&name, value.as_bytes()).map_err(ResponseError::Malformed)?;
            headers
                .try_append(name, value)
                .map_err(|_| ResponseError::TooLarge("the head has too many fields"))?;
        }
        let Framing { length, repeated, chunked, close, keep_alive } = framing;
        let is_http10 = version == Version::HTTP_10;
        if chunked && is_http10 {
            return Err(ResponseError::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        let both = chunked && length.is_some();
        if both {
            headers.remove(header::CONTENT_LENGTH);
        } else if let Some(length) = length.filter(|_| repeated) {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        let body = match (status.as_u16(), request) {
            (101, _) | (200..=299, Request::Connect) => Body::Opaque,
            (100..=199, _) => Body::Informational,
            (204 | 304, _) | (_, Request::Head) => Body::Length(0),
            _ if chunked => Body::Chunked,
            _ => length.map_or(Body::UntilClose, Body::Length),
        };
        let ends =
            both || close || is_http10 && !keep_alive || matches!(body, Body::UntilClose | Body::Opaque);
        Ok(Self { status, version, headers, body, may_reuse: !ends })
    }
}

impl Framing {
    fn add(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), &'static str> {
        if name == header::CONTENT_LENGTH {
            for length in value.split(|&byte| byte == b',') {
                let length = decimal(trimmed(length)).ok_or("an invalid Content-Length")?;
                if self.length.is_some_and(|other| other != length) {
                    return Err("conflicting Content-Length fields");
                }
                self.repeated |= self.length.is_some();
                self.length = Some(length);
            }
        } else if name == header::TRANSFER_ENCODING {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err("a Transfer-Encoding other than chunked");
            }
            self.chunked = true;
        } else if name == header::CONNECTION {
            for option in value.split(|&byte| byte == b',').map(trimmed) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }
}

/// Parses the status and the version in a status line.
fn status(line: &[u8]) -> Option<(StatusCode, Version)> {
    let (version, rest) = line.split_at_checked(b"HTTP/1.1 ".len())?;
    let version = match version {
        b"HTTP/1.1 " => Version::HTTP_11,
        b"HTTP/1.0 " => Version::HTTP_10,
        _ => return None,
    };
    let (digits, reason) = rest.split_at_checked(3)?;
    let status = StatusCode::from_bytes(digits).ok()?;
    // Some servers omit the space before an empty reason.
    let separated = reason.is_empty() || reason.starts_with(b" ");
    let printable = reason.iter().all(|&byte| byte == b'\t' || byte >= b' ' && byte != 0x7f);
    (separated && printable).then_some((status, version))
}
