//! Requests that the listener refuses, and what becomes known of them.

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};

use super::upload::Upload;
use crate::backend::plain_text;
use crate::body::{BoxBody, empty};

/// Whether the listener refuses a request, whatever its handlers say.
#[derive(Clone, Default)]
pub(crate) enum Refused {
    #[default]
    No,
    /// Because of its head.
    Head(StatusCode),
    /// If its body turns out to be too large, too slow or malformed.
    Body(Arc<dyn BodyVerdict>),
}

/// What the listener says of a body once there is a response.
pub(crate) trait BodyVerdict: Send + Sync {
    /// The head of the response is there: what to answer instead, if the body is to blame.
    fn settle(&self) -> Option<StatusCode>;
}

impl<B: Send> BodyVerdict for Upload<B> {
    fn settle(&self) -> Option<StatusCode> {
        self.answered();
        self.breach()
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("No"),
            Self::Head(status) => write!(f, "Head({status})"),
            Self::Body(_) => f.write_str("Body"),
        }
    }
}

/// The answer to a request that is not handled any further. The rest of its body is of no use, and so in HTTP/1.1 neither is the
/// connection.
pub(crate) fn refusal(status: StatusCode, version: Version) -> Response<BoxBody> {
    let text = match status {
        StatusCode::REQUEST_TIMEOUT => "the request took too long\n",
        StatusCode::PAYLOAD_TOO_LARGE => "the request body is too large\n",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "there are too many header fields\n",
        StatusCode::SERVICE_UNAVAILABLE => "there are too many connections\n",
        _ => "bad request\n",
    };
    let mut response = plain_text(status, text);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// As much of a request as its first line tells: its head could not be parsed.
pub(super) fn unparsed(line: &[u8]) -> Request<BoxBody> {
    let line = line.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().and_then(|method| Method::from_bytes(method).ok());
    let (target, version) = (words.next().unwrap_or_default(), words.next_back());
    let mut request = Request::new(empty());
    *request.method_mut() = method.unwrap_or_default();
    *request.uri_mut() = Uri::try_from(escaped(target)).unwrap_or_default();
    *request.version_mut() = if version == Some(b"HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
    request
}

/// A target in which everything that no URI has is escaped.
fn escaped(target: &[u8]) -> String {
    let mut text = String::with_capacity(target.len());
    for &byte in target {
        if byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::unparsed;

    #[test]
    fn the_first_line_of_a_request_tells_what_it_was() {
        for (line, method, target) in [
            ("GET /?\"x\" HTTP/1.1\r\nHost: h", "GET", "/?%22x%22"),
            ("PUT /a/b", "PUT", "/a/b"),
            ("PO(T /a HTTP/1.1", "GET", "/a"),
            ("\u{16}\u{3}\u{1}", "GET", "/"),
            ("", "GET", "/"),
        ] {
            let request = unparsed(line.as_bytes());
            assert_eq!(
                (request.method().as_str(), &*request.uri().to_string()),
                (method, target),
                "{line:?}"
            );
        }
    }
}
