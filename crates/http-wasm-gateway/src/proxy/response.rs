//! Responses to clients.

use http::{HeaderMap, Response, StatusCode};

use crate::body::BoxBody;

/// A response with the gateway's own version and extensions.
pub(super) fn respond_with(status: StatusCode, headers: HeaderMap, body: BoxBody) -> Response<BoxBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
