//! The request that a guest is measured with: a file in HTTP/1.1 format, or a plain GET.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use http_wasm_tower::Body;

use crate::failure::plain;

/// More headers than a server accepts.
const MAX_HEADERS: usize = 256;

/// A request that can be created repeatedly.
#[derive(Debug, Clone)]
pub(crate) struct SampleRequest {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
}

impl Default for SampleRequest {
    /// What `curl` sends for a path.
    fn default() -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("http-wasm-bench"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let (method, uri) = (Method::GET, Uri::from_static("/"));
        Self { method, uri, version: Version::HTTP_11, headers, body: Bytes::new() }
    }
}

impl SampleRequest {
    /// Reads a request's head and body from a file. The error says what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        Self::parse(&std::fs::read(path).map_err(|error| plain(&error))?)
    }

    /// Parses a request in HTTP/1.1 format (RFC 9112); bare line feeds, which editors write, are accepted as well.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut fields);
        let parsed = head.parse(bytes).map_err(|error| format!("not an HTTP/1.1 request: {error}"))?;
        let httparse::Status::Complete(head_len) = parsed else {
            return Err("incomplete request head; an empty line must follow the headers".to_owned());
        };
        let (method, target) = (head.method.unwrap_or_default(), head.path.unwrap_or_default());
        let mut headers = HeaderMap::new();
        for field in head.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(format!("invalid header {}", field.name));
            };
            headers.append(name, value);
        }
        Ok(Self {
            method: method.parse().map_err(|_| format!("invalid method {method}"))?,
            uri: target.parse().map_err(|error| format!("invalid request target {target}: {error}"))?,
            version: if head.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 },
            body: body(&headers, &bytes[head_len..])?,
            headers,
        })
    }

    /// A new request like this.
    pub(crate) fn build(&self) -> Request<Body> {
        let body = if self.body.is_empty() { Body::empty() } else { Body::from(self.body.clone()) };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

impl fmt::Display for SampleRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.uri)?;
        match self.body.len() {
            0 => Ok(()),
            len => write!(f, ", {len} bytes of body"),
        }
    }
}

/// What follows the head: as many bytes as `content-length` says, or everything.
fn body(headers: &HeaderMap, rest: &[u8]) -> Result<Bytes, String> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(
            "transfer-encoding is not supported here; remove it and provide the plain body".to_owned()
        );
    }
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(Bytes::copy_from_slice(rest)) };
    let length = length.to_str().ok().and_then(|text| text.parse::<usize>().ok());
    let length = length.ok_or("content-length is not a number")?;
    match rest.split_at_checked(length) {
        // Most editors end a file with a line feed.
        Some((body, b"" | b"\n" | b"\r\n")) => Ok(Bytes::copy_from_slice(body)),
        _ => Err(format!(
            "content-length is {length}, but {} bytes follow the head; correct it or remove it",
            rest.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::SampleRequest;

    #[test]
    fn a_request_has_method_target_headers_and_the_rest_as_body() {
        let request =
            SampleRequest::parse(b"POST /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\n\r\nbody\n").unwrap();
        assert_eq!((request.method.as_str(), request.uri.to_string()), ("POST", "/a?b".to_owned()));
        assert_eq!(request.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(&request.body[..], b"body\n");
        assert_eq!(request.to_string(), "POST /a?b, 5 bytes of body");
    }

    #[test]
    fn bare_line_feeds_will_do_and_a_last_one_is_not_of_the_body() {
        let request = SampleRequest::parse(b"PUT / HTTP/1.0\nContent-Length: 4\n\nbody\n").unwrap();
        assert_eq!(&request.body[..], b"body");
        assert_eq!(request.version, http::Version::HTTP_10);
    }

    #[test]
    fn what_is_wrong_with_a_request_is_said() {
        for (text, part) in [
            ("", "incomplete"),
            ("GET / HTTP/1.1\r\nhost: h\r\n", "empty line"),
            ("hello", "incomplete"),
            ("GET / HTTP/2\r\n\r\n", "not an HTTP/1.1 request"),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "not an HTTP/1.1 request"),
            ("POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nshort", "content-length is 9, but 5"),
            ("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nlong", "content-length is 2, but 4"),
            ("POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", "not a number"),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "transfer-encoding"),
        ] {
            let error = SampleRequest::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
