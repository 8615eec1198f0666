//! Requests and responses from HAR files, as browsers and proxies save them.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version, header};
use http_wasm_gateway::recording::{Har, HarContent, HarPair, HarRequest, HarResponse};

use super::request::{SampleRequest, SampleResponse, field};
use crate::failure::plain;

/// An entry of a HAR file.
#[derive(Debug, Clone)]
pub(crate) struct HarEntry {
    pub(crate) request: SampleRequest,
    /// The recorded response, if there is one.
    pub(crate) response: Option<SampleResponse>,
}

impl HarEntry {
    /// The entry with this number, counted from 1.
    ///
    /// # Errors
    /// A description of what is wrong with the file.
    pub(crate) fn read(path: &Path, number: usize) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| plain(&error))?;
        let entries = Har::read(&bytes)?.log.entries;
        let count = entries.len();
        let entry = number.checked_sub(1).and_then(|at| entries.into_iter().nth(at));
        let entry = entry.ok_or_else(|| format!("there is no entry {number}: the file has {count}"))?;
        Ok(Self {
            request: sample_request(entry.request)?,
            response: entry.response.map(sample_response).transpose()?.flatten(),
        })
    }
}

fn sample_request(recorded: HarRequest) -> Result<SampleRequest, String> {
    let mut request = SampleRequest {
        method: recorded.method.parse().map_err(|_| format!("invalid method {}", recorded.method))?,
        headers: fields(&recorded.headers)?,
        body: body(recorded.post_data)?,
        ..SampleRequest::default()
    };
    let host = request.headers.get(header::HOST).cloned();
    request.set_url(&recorded.url)?;
    if let Some(host) = host {
        request.headers.insert(header::HOST, host);
    }
    request.version = match &*recorded.http_version.to_ascii_lowercase() {
        "http/2" | "http/2.0" | "h2" => Version::HTTP_2,
        "http/3" | "http/3.0" | "h3" => Version::HTTP_3,
        "http/1.0" => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    request.headers.remove(header::CONTENT_LENGTH);
    request.frame();
    Ok(request)
}

/// Browsers give blocked requests a status of 0.
fn sample_response(recorded: HarResponse) -> Result<Option<SampleResponse>, String> {
    let Ok(status) = StatusCode::from_u16(recorded.status) else { return Ok(None) };
    let mut headers = fields(&recorded.headers)?;
    // The body was saved decoded.
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    Ok(Some(SampleResponse { status, headers, body: body(recorded.content)? }))
}

fn body(content: Option<HarContent>) -> Result<Bytes, String> {
    let content = content.unwrap_or_default();
    let text = content.text.unwrap_or_default();
    match content.encoding.as_deref() {
        Some("base64") => {
            let decoded = BASE64_STANDARD.decode(text);
            decoded.map(Bytes::from).map_err(|error| format!("a body is not valid base64: {error}"))
        }
        _ => Ok(text.into()),
    }
}

fn fields(pairs: &[HarPair]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    // The URL has the same information as HTTP/2 pseudo-headers, and framing belonged to the connection.
    let own =
        |pair: &&HarPair| !pair.name.starts_with(':') && !pair.name.eq_ignore_ascii_case("transfer-encoding");
    for pair in pairs.iter().filter(own) {
        let (name, value) = field(pair.name.as_bytes(), pair.value.as_bytes())?;
        headers.append(name, value);
    }
    Ok(headers)
}
