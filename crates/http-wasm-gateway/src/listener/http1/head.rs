//! Request heads.
//!
//! RFC 9112 allows more than is safe in a chain of proxies, since two parsers may find different requests in the same
//! bytes: bare line feeds, `Transfer-Encoding` next to `Content-Length`, codings other than `chunked`. All of this is
//! rejected.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};

use crate::http1::{HeadEnd, HeadScan, decimal, field, is_token, lines, trimmed};
use crate::listener::check::Refusal;
use crate::listener::request::expects_continue;

/// The number of fields to reserve room for.
const USUAL_FIELDS: usize = 12;

/// The longest target that [`Uri`] supports.
const MAX_TARGET: usize = u16::MAX as usize - 1;

/// A request's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    pub(super) length: Length,
    /// Whether the client keeps the connection open for another request.
    pub(super) keep_alive: bool,
    /// Whether the request is for an upgrade to another protocol.
    pub(super) upgrades: bool,
    /// Whether the client waits for `100 Continue`.
    pub(super) expects_continue: bool,
}

/// The length of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Chunked,
}

/// Takes a complete head of up to `max` bytes out of `input`. Empty lines before it are dropped (RFC 9112 section 2.2).
/// Returns `None` if it is incomplete.
pub(super) fn take(
    search: &mut HeadScan,
    input: &mut BytesMut,
    max: usize,
) -> Result<Option<Bytes>, Refusal> {
    loop {
        let end = search.find(input).map_err(malformed)?;
        match end {
            // This can't become a request: it is TLS, or HTTP/2 without its preface.
            HeadEnd::Partial if !input.first().is_none_or(|&first| first == b'\r' || is_token(first)) => {
                return Err(malformed("it does not start with a valid method"));
            }
            HeadEnd::Partial if input.len() <= max => return Ok(None),
            HeadEnd::EmptyLine => {
                input.advance(2);
                *search = HeadScan::default();
            }
            HeadEnd::At(bytes) if bytes <= max => {
                *search = HeadScan::default();
                return Ok(Some(input.split_to(bytes).freeze()));
            }
            HeadEnd::Partial | HeadEnd::At(_) => return Err(too_large("the header fields are too large")),
        }
    }
}

impl Head {
    /// Parses a complete head.
    pub(super) fn parse(head: &Bytes) -> Result<Self, Refusal> {
        let mut lines = lines(head);
        let (method, target, version) =
            start_line(lines.next().unwrap_or(Ok(b"")).map_err(malformed)?, head)?;
        let mut fields = Fields::default();
        let mut headers = HeaderMap::with_capacity(USUAL_FIELDS);
        for line in lines {
            let (name, value) = line.and_then(|line| field(line, head)).map_err(malformed)?;
            fields.add(&name, &value).map_err(malformed)?;
            headers.try_append(name, value).map_err(|_| too_large("too many header fields"))?;
        }
        let Fields { length, chunked, close, keep_alive, upgrade, expects_continue } = fields;
        let is_http10 = version == Version::HTTP_10;
        let length = match (length, chunked) {
            (Some(_), true) => return Err(malformed("both Content-Length and Transfer-Encoding")),
            (None, true) if is_http10 => return Err(malformed("Transfer-Encoding in HTTP/1.0")),
            (None, true) => Length::Chunked,
            (length, false) => Length::Known(length.unwrap_or(0)),
        };
        let upgrades = method == Method::CONNECT || upgrade && !is_http10;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = target;
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        Ok(Self {
            request,
            length,
            keep_alive: !close && (keep_alive || !is_http10),
            upgrades,
            expects_continue: expects_continue && !is_http10,
        })
    }
}

fn start_line(line: &[u8], head: &Bytes) -> Result<(Method, Uri, Version), Refusal> {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, target, version) = (word(), word(), word());
    let method = Method::from_bytes(method).map_err(|_| malformed("an invalid method"))?;
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ => return Err(malformed("an invalid request line or HTTP version")),
    };
    if target.len() > MAX_TARGET {
        return Err(Refusal { status: StatusCode::URI_TOO_LONG, reason: "the request target is too long" });
    }
    let target = Uri::from_maybe_shared(head.slice_ref(target));
    Ok((method, target.map_err(|_| malformed("an invalid request target"))?, version))
}

/// The fields that concern the connection and the body.
#[derive(Debug, Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    expects_continue: bool,
}

impl Fields {
    fn add(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), &'static str> {
        if name == header::CONTENT_LENGTH {
            if self.length.is_some() {
                return Err("more than one Content-Length");
            }
            self.length = Some(decimal(value.as_bytes()).ok_or("an invalid Content-Length")?);
        } else if name == header::TRANSFER_ENCODING {
            if self.chunked {
                return Err("more than one Transfer-Encoding");
            }
            if !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err("a Transfer-Encoding other than chunked");
            }
            self.chunked = true;
        } else if name == header::CONNECTION {
            for option in value.as_bytes().split(|&byte| byte == b',').map(trimmed) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name == header::EXPECT {
            self.expects_continue = expects_continue(value);
        } else if name == header::UPGRADE {
            self.upgrade = true;
        }
        Ok(())
    }
}

fn malformed(reason: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, reason }
}

fn too_large(reason: &'static str) -> Refusal {
    Refusal { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason }
}
