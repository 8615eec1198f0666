//! Responds with the request it received, as JSON.
//!
//! `uri` is the path and query as on the wire. `headers` and `trailers` are `[name, value]` pairs; a value that isn't
//! UTF-8 is `{"base64": ".."}` instead of a string. A request that carries its host only in the URI, as in HTTP/2,
//! shows it as a `host` header, so that the response is the same for each version. The body is `body`, or `body_base64`
//! if it isn't UTF-8.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Collected, LengthLimitError, Limited};
use serde::Serialize;

use crate::body::{BoxBody, BoxError};
use crate::exchange::{content, plain_text};

/// The maximum size of an echoed body. The body is held in memory completely, so there must be a limit; this one is
/// generous for a test aid.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// Responds with the request as JSON, as the backend `echo` does.
pub async fn respond(request: Request<BoxBody>) -> Response<BoxBody> {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return too_large();
    }
    let collected = match collect(body).await {
        Ok(collected) => collected,
        Err(error) if error.is::<LengthLimitError>() => return too_large(),
        Err(error) => {
            tracing::debug!(error, "request body ended prematurely");
            return plain_text(StatusCode::BAD_REQUEST, "the request body ended prematurely\n");
        }
    };
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let mut json = match serde_json::to_vec(&Echo::new(&head, &collected.to_bytes(), &trailers)) {
        Ok(json) => json,
        Err(error) => {
            tracing::error!(%error, "cannot write the request as JSON");
            return plain_text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n");
        }
    };
    json.push(b'\n');
    content(StatusCode::OK, "application/json", json)
}

fn too_large() -> Response<BoxBody> {
    plain_text(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large for the echo backend\n")
}

/// Boxed here, because the compiler can't prove within an `async fn` that this future is `Send`.
fn collect(body: BoxBody) -> BoxFuture<'static, Result<Collected<Bytes>, BoxError>> {
    Limited::new(body, MAX_BODY_BYTES).collect().boxed()
}

#[derive(Serialize)]
struct Echo<'a> {
    method: &'a str,
    uri: &'a str,
    version: String,
    headers: Vec<(&'a str, Text<'a>)>,
    #[serde(flatten)]
    body: EchoBody<'a>,
    trailers: Vec<(&'a str, Text<'a>)>,
}

/// Text unchanged, other bytes as `{"base64": ".."}`.
#[derive(Serialize)]
#[serde(untagged)]
enum Text<'a> {
    Utf8(&'a str),
    Other { base64: String },
}

#[derive(Serialize)]
enum EchoBody<'a> {
    #[serde(rename = "body")]
    Utf8(&'a str),
    #[serde(rename = "body_base64")]
    Other(String),
}

impl<'a> Echo<'a> {
    fn new(head: &'a request::Parts, body: &'a Bytes, trailers: &'a HeaderMap) -> Self {
        let mut headers = pairs(&head.headers);
        if let Some(authority) = head.uri.authority()
            && !head.headers.contains_key(header::HOST)
        {
            headers.insert(0, ("host", Text::Utf8(authority.as_str())));
        }
        Self {
            method: head.method.as_str(),
            uri: head.uri.path_and_query().map_or("/", |own| own.as_str()),
            version: format!("{:?}", head.version),
            headers,
            body: match str::from_utf8(body) {
                Ok(text) => EchoBody::Utf8(text),
                Err(_) => EchoBody::Other(BASE64_STANDARD.encode(body)),
            },
            trailers: pairs(trailers),
        }
    }
}

fn pairs(fields: &HeaderMap) -> Vec<(&str, Text<'_>)> {
    fields.iter().map(|(name, value)| (name.as_str(), Text::new(value))).collect()
}

impl<'a> Text<'a> {
    fn new(value: &'a HeaderValue) -> Self {
        match str::from_utf8(value.as_bytes()) {
            Ok(text) => Self::Utf8(text),
            Err(_) => Self::Other { base64: BASE64_STANDARD.encode(value) },
        }
    }
}
