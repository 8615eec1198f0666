//! Requests and responses from HAR files, as browsers and proxies save them.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version, header};
use serde::Deserialize;

use super::request::{SampleRequest, SampleResponse, field};
use crate::failure::plain;

/// An entry of a HAR file.
#[derive(Debug, Clone)]
pub(crate) struct HarEntry {
    pub(crate) request: SampleRequest,
    /// The recorded response, if there is one.
    pub(crate) response: Option<SampleResponse>,
}

#[derive(Deserialize)]
struct File {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    entries: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    request: Request,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    #[serde(default)]
    http_version: String,
    #[serde(default)]
    headers: Vec<Pair>,
    post_data: Option<Text>,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    status: u16,
    #[serde(default)]
    headers: Vec<Pair>,
    content: Option<Text>,
}

#[derive(Deserialize)]
struct Pair {
    name: String,
    value: String,
}

#[derive(Deserialize, Default)]
struct Text {
    text: Option<String>,
    encoding: Option<String>,
}

impl HarEntry {
    /// The entry with this number, counted from 1.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn read(path: &Path, number: usize) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| plain(&error))?;
        // Some tools begin the file with a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let file: File = serde_json::from_slice(bytes).map_err(|error| format!("not a HAR file: {error}"))?;
        let count = file.log.entries.len();
        let entry = number.checked_sub(1).and_then(|at| file.log.entries.into_iter().nth(at));
        let entry = entry.ok_or_else(|| format!("there is no entry {number}: the file has {count}"))?;
        Ok(Self {
            request: entry.request.sample()?,
            response: entry.response.map(Response::sample).transpose()?.flatten(),
        })
    }
}

impl Request {
    fn sample(self) -> Result<SampleRequest, String> {
        let mut request = SampleRequest {
            method: self.method.parse().map_err(|_| format!("invalid method {}", self.method))?,
            headers: fields(&self.headers)?,
            body: self.post_data.unwrap_or_default().decode()?,
            ..SampleRequest::default()
        };
        let has_host = request.headers.contains_key(header::HOST);
        let host = request.headers.get(header::HOST).cloned();
        request.set_url(&self.url)?;
        if let (true, Some(host)) = (has_host, host) {
            request.headers.insert(header::HOST, host);
        }
        request.version = match &*self.http_version.to_ascii_lowercase() {
            "http/2" | "http/2.0" | "h2" => Version::HTTP_2,
            "http/3" | "http/3.0" | "h3" => Version::HTTP_3,
            "http/1.0" => Version::HTTP_10,
            _ => Version::HTTP_11,
        };
        request.headers.remove(header::CONTENT_LENGTH);
        request.frame();
        Ok(request)
    }
}

impl Response {
    /// Browsers give blocked requests a status of 0.
    fn sample(self) -> Result<Option<SampleResponse>, String> {
        let Ok(status) = StatusCode::from_u16(self.status) else { return Ok(None) };
        let mut headers = fields(&self.headers)?;
        // The body was saved decoded.
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        Ok(Some(SampleResponse { status, headers, body: self.content.unwrap_or_default().decode()? }))
    }
}

impl Text {
    fn decode(self) -> Result<Bytes, String> {
        let text = self.text.unwrap_or_default();
        match self.encoding.as_deref() {
            Some("base64") => {
                let decoded = BASE64_STANDARD.decode(text);
                decoded.map(Bytes::from).map_err(|error| format!("a body is not valid base64: {error}"))
            }
            _ => Ok(text.into()),
        }
    }
}

fn fields(pairs: &[Pair]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    // Pseudo-headers of HTTP/2 are in the URL too, and framing was the connection's.
    let own =
        |pair: &&Pair| !pair.name.starts_with(':') && !pair.name.eq_ignore_ascii_case("transfer-encoding");
    for pair in pairs.iter().filter(own) {
        let (name, value) = field(pair.name.as_bytes(), pair.value.as_bytes())?;
        headers.append(name, value);
    }
    Ok(headers)
}
