//! The request for the guest and the next handler's response, from a file in HTTP/1.1 format or from arguments.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_wasm_tower::Body;

use crate::failure::plain;

/// Maximum number of headers: more than servers accept.
const MAX_HEADERS: usize = 256;

/// A request that can be created repeatedly.
#[derive(Debug, Clone)]
pub(crate) struct SampleRequest {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A response that can be created repeatedly.
#[derive(Debug, Clone)]
pub(crate) struct SampleResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Default for SampleRequest {
    /// The request that `curl` sends for a path.
    fn default() -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("http-wasm"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let (method, uri) = (Method::GET, Uri::from_static("/"));
        Self { method, uri, version: Version::HTTP_11, headers, body: Bytes::new() }
    }
}

impl SampleRequest {
    /// Reads a request's head and body from a file. The error describes what is wrong with it.
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
        let headers = fields_of(head.headers)?;
        Ok(Self {
            method: method.parse().map_err(|_| format!("invalid method {method}"))?,
            uri: target.parse().map_err(|error| format!("invalid request target {target}: {error}"))?,
            version: if head.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 },
            body: body(&headers, &bytes[head_len..])?,
            headers,
        })
    }

    /// Takes the target from a URL. The host of an absolute URL becomes the `host` header.
    pub(crate) fn set_url(&mut self, url: &str) -> Result<(), String> {
        let is_absolute = url.starts_with("http://") || url.starts_with("https://");
        if !is_absolute && !url.starts_with('/') && url != "*" {
            return Err(format!("invalid URL {url}: expected a path such as /a?b, or http://host/path"));
        }
        let uri: Uri = url.parse().map_err(|error| format!("invalid URL {url}: {error}"))?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        if let Some(authority) = uri.authority() {
            let host = HeaderValue::from_str(authority.as_str());
            self.headers.insert(header::HOST, host.map_err(|_| format!("invalid host in {url}"))?);
        }
        self.uri = target.parse().map_err(|error| format!("invalid URL {url}: {error}"))?;
        Ok(())
    }

    /// Adds a `content-length` header, unless there is one or the body is empty.
    pub(crate) fn frame(&mut self) {
        if !self.body.is_empty() && !self.headers.contains_key(header::CONTENT_LENGTH) {
            self.headers.insert(header::CONTENT_LENGTH, self.body.len().into());
        }
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

impl Default for SampleResponse {
    fn default() -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

impl SampleResponse {
    /// Reads a response's head and body from a file. The error describes what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        Self::parse(&std::fs::read(path).map_err(|error| plain(&error))?)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut fields);
        let parsed = head.parse(bytes).map_err(|error| format!("not an HTTP/1.1 response: {error}"))?;
        let httparse::Status::Complete(head_len) = parsed else {
            return Err("incomplete response head; an empty line must follow the headers".to_owned());
        };
        let headers = fields_of(head.headers)?;
        let status = StatusCode::from_u16(head.code.unwrap_or_default());
        Ok(Self {
            status: status.map_err(|error| error.to_string())?,
            body: body(&headers, &bytes[head_len..])?,
            headers,
        })
    }

    /// A new response like this.
    pub(crate) fn build(&self) -> Response<Body> {
        let body = if self.body.is_empty() { Body::empty() } else { Body::from(self.body.clone()) };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        if !self.body.is_empty() && !self.headers.contains_key(header::CONTENT_LENGTH) {
            response.headers_mut().insert(header::CONTENT_LENGTH, self.body.len().into());
        }
        response
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

/// Parses a header from `name: value`, as written in a request.
pub(crate) fn header_line(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("expected NAME: VALUE, not {line:?}"))?;
    field(name.trim().as_bytes(), value.trim().as_bytes())
}

/// A header, if it is valid.
pub(crate) fn field(name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue), String> {
    match (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        _ => Err(format!("invalid header {}", name.escape_ascii())),
    }
}

fn fields_of(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for line in fields {
        let (name, value) = field(line.name.as_bytes(), line.value)?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// The body that follows the head: as many bytes as `content-length` says, or everything.
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
    fn bare_line_feeds_are_accepted_and_a_trailing_one_is_not_part_of_the_body() {
        let request = SampleRequest::parse(b"PUT / HTTP/1.0\nContent-Length: 4\n\nbody\n").unwrap();
        assert_eq!(&request.body[..], b"body");
        assert_eq!(request.version, http::Version::HTTP_10);
    }

    #[test]
    fn errors_in_a_request_name_what_is_wrong() {
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
