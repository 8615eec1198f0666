//! Responses that the gateway makes itself.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, Version, header};

use crate::body::{BoxBody, empty, full};

const TOO_LARGE: &str = "the request body is too large\n";

/// A response with this text.
pub(crate) fn plain_text(status: StatusCode, text: &'static str) -> Response<BoxBody> {
    content(status, "text/plain; charset=utf-8", text)
}

/// A response with this content.
pub(crate) fn content(
    status: StatusCode,
    content_type: &'static str,
    bytes: impl Into<Bytes>,
) -> Response<BoxBody> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The response while a limit is reached. The client may try again soon.
pub(crate) fn unavailable() -> Response<BoxBody> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The response to a CONNECT request where a 2xx would open a tunnel without a destination.
pub(crate) fn no_tunnel() -> Response<BoxBody> {
    plain_text(StatusCode::NOT_IMPLEMENTED, "CONNECT is not supported\n")
}

/// The response to a request whose body is too large.
pub(crate) fn too_large() -> Response<BoxBody> {
    plain_text(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE)
}

/// The response to a request that isn't handled any further. The rest of its body isn't read, so in HTTP/1.1 the
/// connection can't be reused.
pub(crate) fn refusal(status: StatusCode, version: Version) -> Response<BoxBody> {
    let mut response = plain_text(status, refusal_text(status));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What the response to a rejected request says.
pub(crate) fn refusal_text(status: StatusCode) -> &'static str {
    match status {
        StatusCode::REQUEST_TIMEOUT => "the request took too long\n",
        StatusCode::PAYLOAD_TOO_LARGE => TOO_LARGE,
        StatusCode::URI_TOO_LONG => "the request target is too long\n",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the header fields are too many or too large\n",
        StatusCode::SERVICE_UNAVAILABLE => "too many connections\n",
        _ => "bad request\n",
    }
}
