//! Entry points for fuzzers outside this crate. Not part of its API.

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode, Version, header};

use crate::http1::response::{Part, ResponseLimits, ResponseReader};

/// What the reader of upstream responses does with some bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadResponse {
    /// What it takes from them, as a message again.
    pub passed: Vec<u8>,
    /// Why it rejected the rest.
    pub refused: Option<String>,
    /// Whether the connection may carry another request.
    pub may_reuse: bool,
}

/// Makes the reader read what an upstream sends in response to one request before it closes. `piece` returns the number
/// of bytes that arrive next.
pub fn read_response(method: &Method, response: &[u8], piece: &mut dyn FnMut() -> usize) -> ReadResponse {
    let mut reader = ResponseReader::new(ResponseLimits::default());
    reader.begin(method);
    let (mut input, mut rest) = (BytesMut::new(), response);
    let mut message = Message::default();
    let refused = loop {
        let part = match reader.next(&mut input) {
            Ok(None) if reader.is_opaque() => {
                message.body.extend_from_slice(&input);
                message.body.extend_from_slice(rest);
                break None;
            }
            Ok(None) if rest.is_empty() => reader.ended(&input),
            part => part,
        };
        match part {
            Ok(Some(Part::End)) => {
                message.ended = true;
                break None;
            }
            Ok(Some(part)) => message.add(part, reader.left().is_none()),
            Ok(None) if rest.is_empty() => break None,
            Ok(None) => {
                let size = piece().clamp(1, rest.len());
                input.extend_from_slice(&rest[..size]);
                rest = &rest[size..];
            }
            Err(refused) => break Some(refused.to_string()),
        }
    };
    ReadResponse { passed: message.into_bytes(), refused, may_reuse: reader.may_reuse() }
}

/// A message, reassembled from its parts.
#[derive(Default)]
struct Message {
    heads: Vec<u8>,
    chunked: bool,
    body: Vec<u8>,
    trailers: Vec<u8>,
    ended: bool,
}

impl Message {
    /// `open` says whether the end of the message isn't known yet.
    fn add(&mut self, part: Part, open: bool) {
        match part {
            Part::Informational(status, headers) => self.head(status, Version::HTTP_11, &headers),
            Part::Head(head) => {
                self.chunked = open && head.headers().contains_key(header::TRANSFER_ENCODING);
                self.head(head.status(), head.version(), head.headers());
            }
            Part::Data(data) => self.body.extend_from_slice(&data),
            Part::Trailers(trailers) => write(&mut self.trailers, &trailers),
            Part::End => {}
        }
    }

    fn head(&mut self, status: StatusCode, version: Version, headers: &HeaderMap) {
        self.heads.extend_from_slice(format!("{version:?} {} \r\n", status.as_str()).as_bytes());
        write(&mut self.heads, headers);
        self.heads.extend_from_slice(b"\r\n");
    }

    fn into_bytes(self) -> Vec<u8> {
        let Self { mut heads, chunked, body, trailers, ended } = self;
        let size = format!("{:x}\r\n", body.len());
        let parts: &[&[u8]] = match (chunked, ended) {
            (false, _) => &[&body],
            (true, true) if body.is_empty() && trailers.is_empty() => &[b"0\r\n\r\n"],
            (true, true) if body.is_empty() => &[b"0\r\n", &trailers, b"\r\n"],
            (true, true) => &[size.as_bytes(), &body, b"\r\n0\r\n", &trailers, b"\r\n"],
            (true, false) if body.is_empty() => &[],
            (true, false) => &[size.as_bytes(), &body, b"\r\n"],
        };
        heads.extend(parts.concat());
        heads
    }
}

fn write(message: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        message.extend_from_slice(name.as_str().as_bytes());
        message.extend_from_slice(b": ");
        message.extend_from_slice(value.as_bytes());
        message.extend_from_slice(b"\r\n");
    }
}
