//! The parts of the HAR format, version 1.2, that recordings use.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::file::Recorded;

/// A HAR file. Recordings also contain what the guests did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Har {
    /// The only member.
    pub log: HarLog,
}

/// The content of a HAR file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HarLog {
    /// The version of the format.
    #[serde(default, deserialize_with = "or_default")]
    pub version: String,
    /// The program that wrote the file.
    #[serde(default, deserialize_with = "or_default")]
    pub creator: serde_json::Value,
    /// The messages. In a recording, there are up to two for each exchange, see [`HarEntry::side`].
    pub entries: Vec<HarEntry>,
    /// What the guests did.
    #[serde(rename = "_httpWasm", default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

/// A request and its response.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HarEntry {
    /// When the request arrived.
    #[serde(default, deserialize_with = "or_default")]
    pub started_date_time: String,
    /// Milliseconds until the end of the response.
    #[serde(default, deserialize_with = "or_default")]
    pub time: f64,
    /// The request.
    pub request: HarRequest,
    /// The response; its status is 0 if there was none.
    pub response: Option<HarResponse>,
    /// Required by the format.
    #[serde(default, deserialize_with = "or_default")]
    pub cache: serde_json::Value,
    /// Required by the format.
    #[serde(default, deserialize_with = "or_default")]
    pub timings: serde_json::Value,
    /// A description of the entry for humans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The number of the exchange in the recording, counted from 1.
    #[serde(rename = "_exchange", default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<u32>,
    /// Which side of the guests these messages are from.
    #[serde(rename = "_side", default, skip_serializing_if = "Option::is_none")]
    pub side: Option<HarSide>,
    /// The client's address.
    #[serde(rename = "_clientAddress", default, skip_serializing_if = "Option::is_none")]
    pub client_address: Option<String>,
    /// The request's `x-request-id`.
    #[serde(rename = "_requestId", default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The side of the guests that the messages of an entry are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum HarSide {
    /// The request that the guests received, and the response that they sent.
    Client,
    /// The request that the guests sent to the next handler, and its response.
    Next,
}

/// A request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HarRequest {
    /// The method.
    pub method: String,
    /// The absolute URL.
    pub url: String,
    /// The version of HTTP.
    #[serde(default)]
    pub http_version: String,
    /// Required by the format, and empty: cookies are in the headers.
    #[serde(default, deserialize_with = "or_default")]
    pub cookies: Vec<serde_json::Value>,
    /// The headers.
    #[serde(default)]
    pub headers: Vec<HarPair>,
    /// Required by the format, and empty: the query is in the URL.
    #[serde(default, deserialize_with = "or_default")]
    pub query_string: Vec<serde_json::Value>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_data: Option<HarContent>,
    /// The trailers, an extension of the format.
    #[serde(rename = "_trailers", default, skip_serializing_if = "Vec::is_empty")]
    pub trailers: Vec<HarPair>,
    /// -1: unknown.
    #[serde(default, deserialize_with = "or_default")]
    pub headers_size: i64,
    /// The size of the body in bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub body_size: i64,
}

/// A response.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HarResponse {
    /// The status.
    #[serde(default)]
    pub status: u16,
    /// Its reason phrase.
    #[serde(default, deserialize_with = "or_default")]
    pub status_text: String,
    /// The version of HTTP.
    #[serde(default)]
    pub http_version: String,
    /// Required by the format, and empty: cookies are in the headers.
    #[serde(default, deserialize_with = "or_default")]
    pub cookies: Vec<serde_json::Value>,
    /// The headers.
    #[serde(default)]
    pub headers: Vec<HarPair>,
    /// The body.
    #[serde(default)]
    pub content: Option<HarContent>,
    /// The trailers, an extension of the format.
    #[serde(rename = "_trailers", default, skip_serializing_if = "Vec::is_empty")]
    pub trailers: Vec<HarPair>,
    /// The `location` header.
    #[serde(rename = "redirectURL", default, deserialize_with = "or_default")]
    pub redirect_url: String,
    /// -1: unknown.
    #[serde(default, deserialize_with = "or_default")]
    pub headers_size: i64,
    /// The size of the body in bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub body_size: i64,
}

/// A header.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HarPair {
    /// Its name.
    pub name: String,
    /// Its value. Bytes that aren't text are shown as U+FFFD.
    pub value: String,
}

/// A body.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HarContent {
    /// The size of the body, or of the part that was read, in bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub size: i64,
    /// Its media type.
    #[serde(default, deserialize_with = "or_default")]
    pub mime_type: String,
    /// The body as text, or as base64 if `encoding` is "base64".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The encoding of `text`, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// What is missing, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Deserializes a purely informative member, ignoring errors: other programs write `null` or other types there.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

impl Har {
    /// Parses a HAR file, which may be from another program.
    ///
    /// # Errors
    /// If it isn't one.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        // Some tools begin the file with a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        serde_json::from_slice(bytes).map_err(|error| format!("not a HAR file: {error}"))
    }
}

impl HarContent {
    /// A body of which `bytes` were kept.
    pub(super) fn new(bytes: &[u8], size: u64, mime_type: &str) -> Self {
        let (text, encoding) = match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => (BASE64_STANDARD.encode(bytes), Some("base64".to_owned())),
        };
        let cut = bytes.len() as u64 != size;
        Self {
            size: i64::try_from(size).unwrap_or(i64::MAX),
            mime_type: mime_type.to_owned(),
            text: Some(text),
            encoding,
            comment: cut.then(|| format!("only the first {} of {size} bytes are recorded", bytes.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Har;

    #[test]
    fn members_that_only_inform_readers_may_have_any_type() {
        let har = Har::read(
            br#"{"log": {"version": 1.2, "creator": null, "entries": [{
                "startedDateTime": null, "time": "fast", "cache": null, "timings": null,
                "request": {"method": "GET", "url": "http://h/", "cookies": null, "headersSize": null, "bodySize": 1.5},
                "response": {"status": 200, "statusText": null, "redirectURL": null, "bodySize": null,
                    "content": {"size": null, "mimeType": null, "text": "hi"}}}]}}"#,
        )
        .unwrap();
        let response = har.log.entries[0].response.as_ref().unwrap();
        assert_eq!((response.status, response.content.as_ref().unwrap().text.as_deref()), (200, Some("hi")));
    }

    #[test]
    fn a_file_without_a_method_is_refused_with_the_place() {
        let error = Har::read(br#"{"log": {"entries": [{"request": {"url": "http://h/"}}]}}"#).unwrap_err();
        assert!(error.starts_with("not a HAR file: missing field `method` at line 1"), "{error}");
    }
}
