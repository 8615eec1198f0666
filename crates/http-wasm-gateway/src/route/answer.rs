//! Routes with a redirect or a fixed response.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};

use crate::body::{BoxBody, empty, full};
use crate::config::{Redirect, Respond};

/// A response that needs no upstream.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Fixed { status: StatusCode, headers: HeaderMap, body: Bytes },
    Redirect { status: StatusCode, to: String, keep_path: bool },
}

impl Answer {
    /// The fixed response of a checked configuration.
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

    /// The redirect of a checked configuration.
    pub(super) fn redirect(redirect: &Redirect) -> Self {
        let to = match redirect.keep_path {
            true => redirect.to.trim_end_matches('/').to_owned(),
            false => redirect.to.value.clone(),
        };
        Self::Redirect { status: status(*redirect.status), to, keep_path: redirect.keep_path }
    }

    pub(super) fn to(&self, request: &Request<BoxBody>) -> Response<BoxBody> {
        let mut response = Response::new(empty());
        match self {
            Self::Fixed { status, headers, body } => {
                *response.status_mut() = *status;
                response.headers_mut().clone_from(headers);
                *response.body_mut() = full(body.clone());
            }
            Self::Redirect { status, to, keep_path } => {
                let rest = request.uri().path_and_query().filter(|_| *keep_path);
                let location = format!("{to}{}", rest.map_or("", |rest| rest.as_str()));
                // A checked `to` and a parsed URI contain nothing that a header field can't.
                if let Ok(location) = HeaderValue::try_from(location) {
                    *response.status_mut() = *status;
                    response.headers_mut().insert(header::LOCATION, location);
                } else {
                    *response.status_mut() = StatusCode::BAD_REQUEST;
                }
            }
        }
        response
    }
}

fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
