//! Routes with a redirect or a fixed response.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};

use super::host::requested_host;
use crate::body::{BoxBody, empty, full};
use crate::config::{Redirect, RedirectTarget, Requested, Respond};
use crate::exchange::{no_tunnel, plain_text};

/// A response that needs no upstream.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Fixed { status: StatusCode, headers: HeaderMap, body: Bytes },
    Redirect { status: StatusCode, to: RedirectTarget },
}

impl Answer {
    /// The fixed response in a validated configuration.
    pub(super) fn fixed(respond: &Respond) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in &respond.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(&value.value)) {
                headers.insert(name, value);
            }
        }
        if !respond.body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        let status = status(*respond.status);
        Self::Fixed { status, headers, body: Bytes::copy_from_slice(respond.body.as_bytes()) }
    }

    /// The redirect in a validated configuration.
    pub(super) fn redirect(redirect: &Redirect) -> Self {
        let to = redirect.to.value.clone();
        let to = if redirect.keep_path { to.with_path() } else { to };
        Self::Redirect { status: status(*redirect.status), to }
    }

    /// The response to a request. `tls` says whether the client used TLS.
    pub(super) fn to(&self, request: &Request<BoxBody>, tls: bool) -> Response<BoxBody> {
        let mut response = Response::new(empty());
        match self {
            Self::Fixed { status, .. } if status.is_success() && request.method() == Method::CONNECT => {
                return no_tunnel();
            }
            Self::Fixed { status, headers, body } => {
                *response.status_mut() = *status;
                response.headers_mut().clone_from(headers);
                *response.body_mut() = full(body.clone());
            }
            Self::Redirect { status, to } => {
                let host = requested_host(request);
                let location = to.location(Requested {
                    scheme: if tls { "https" } else { "http" },
                    host: host.as_deref(),
                    path: request.uri().path(),
                    query: request.uri().query(),
                });
                // Neither a validated target nor a parsed URI contains a character that a header field can't have.
                match location.map(HeaderValue::try_from) {
                    Some(Ok(location)) => {
                        *response.status_mut() = *status;
                        response.headers_mut().insert(header::LOCATION, location);
                    }
                    _ => return plain_text(StatusCode::BAD_REQUEST, "bad request\n"),
                }
            }
        }
        response
    }
}

fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
