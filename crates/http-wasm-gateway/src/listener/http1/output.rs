//! Writes responses.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use http_body::Body;

use crate::body::BoxError;
use crate::connection_options::has_connection_option;
use crate::http1::{Coding, MessageWriter, SentTrailers, content_length, write_field};

/// The properties of a request that its response depends on.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) method: Method,
    pub(super) version: Version,
}

/// Starts a response. `keep_alive` says whether the connection can continue after it; the result, whether it will.
pub(super) fn begin<B>(
    writer: &mut MessageWriter<B>,
    response: Response<B>,
    request: &Answered,
    keep_alive: bool,
) -> bool
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    let (head, body) = response.into_parts();
    let has_body = has_body(&request.method, head.status);
    let coding = match content_length(&head.headers) {
        _ if !has_body => None,
        Some(length) if length > 0 || !body.is_end_stream() => Some(Coding::Length(length)),
        Some(_) => None,
        None if body.is_end_stream() => None,
        None if request.version == Version::HTTP_10 => Some(Coding::UntilClose),
        None => Some(Coding::Chunked),
    };
    let keep_alive =
        keep_alive && coding != Some(Coding::UntilClose) && !has_connection_option(&head.headers, "close");
    let bytes = writer.buffer.bytes();
    write_status(bytes, request.version, head.status);
    for (name, value) in &head.headers {
        // Only chunked bodies have trailers.
        if name != header::TRAILER || coding == Some(Coding::Chunked) {
            write_field(bytes, name, value);
        }
    }
    match request.version {
        Version::HTTP_10 if keep_alive => bytes.extend_from_slice(b"connection: keep-alive\r\n"),
        Version::HTTP_11 if !keep_alive && !has_connection_option(&head.headers, "close") => {
            bytes.extend_from_slice(b"connection: close\r\n");
        }
        _ => {}
    }
    match coding {
        Some(Coding::Chunked) => bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n"),
        None if has_body && !head.headers.contains_key(header::CONTENT_LENGTH) => {
            bytes.extend_from_slice(b"content-length: 0\r\n\r\n");
        }
        _ => bytes.extend_from_slice(b"\r\n"),
    }
    if let Some(coding) = coding {
        // Others might not be expected by the client.
        let trailers = SentTrailers::Only(match coding {
            Coding::Chunked => announced(&head.headers),
            Coding::Length(_) | Coding::UntilClose => Vec::new(),
        });
        writer.set_body(body, coding, trailers);
    }
    keep_alive
}

/// Whether the response to a request with this method may have a body if it has this status.
fn has_body(method: &Method, status: StatusCode) -> bool {
    let none = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || *method == Method::HEAD
        || *method == Method::CONNECT && status.is_success();
    !none
}

/// Adds a status line.
pub(super) fn write_status(buffer: &mut Vec<u8>, version: Version, status: StatusCode) {
    if version == Version::HTTP_11 && status == StatusCode::OK {
        return buffer.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    let version: &str = if version == Version::HTTP_10 { "HTTP/1.0 " } else { "HTTP/1.1 " };
    for part in [version, status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
        buffer.extend_from_slice(part.as_bytes());
    }
}

/// Adds an informational response.
pub(super) fn write_interim(buffer: &mut Vec<u8>, response: &Response<()>) {
    write_status(buffer, Version::HTTP_11, response.status());
    response.headers().iter().for_each(|(name, value)| write_field(buffer, name, value));
    buffer.extend_from_slice(b"\r\n");
}

/// The names in `Trailer`.
fn announced(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::TRAILER).iter().map(HeaderValue::as_bytes);
    let names = values.flat_map(|value| value.split(|&byte| byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}
