//! What a client gets when a guest fails.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
#[cfg(doc)]
use http_wasm_host::ErrorKind;
use http_wasm_host::{Body, Error, FailureResponse, Phase};

/// Creates the response for the client when a guest fails and doesn't fail open.
///
/// [`HideDetails`] and [`GatewayTimeout`] are provided. A closure `Fn(&Error, &Parts) -> Response<Body>` is a policy
/// that sees the request. A policy doesn't have to log: the error is logged before, and is added to the response's
/// extensions afterwards as `Arc<Error>`.
///
/// ```
/// use http::request::Parts;
/// use http::{Response, StatusCode};
/// use http_wasm_tower::{Body, Error, ErrorKind, FailurePolicy, HideDetails, HttpWasmLayer};
///
/// /// Like the default, but a guest that is too slow causes a 504 with `Retry-After`.
/// struct RetryLater;
///
/// impl FailurePolicy for RetryLater {
///     fn response(&self, error: &Error, request: Option<&Parts>) -> Response<Body> {
///         let mut response = HideDetails::default().response(error, request);
///         if error.kind() == ErrorKind::Deadline {
///             *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
///             response.headers_mut().insert("retry-after", 5.into());
///         }
///         response
///     }
/// }
///
/// # fn set(layer: HttpWasmLayer) -> (HttpWasmLayer, HttpWasmLayer) {
/// let with_struct = layer.clone().failure_policy(RetryLater);
///
/// let with_closure = layer.failure_policy(|error: &Error, request: &Parts| {
///     let text = format!("{} can't be served now\n", request.uri.path());
///     let mut response = Response::new(Body::from(text));
///     *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
///     response
/// });
/// # (with_struct, with_closure)
/// # }
/// ```
pub trait FailurePolicy: Send + Sync + 'static {
    /// Creates the response. Don't include the error's text: it is meant for the log, and could show clients how a
    /// service is protected.
    ///
    /// `request` is the head of the request as received by the first guest, without its extensions, if
    /// [`needs_request`](Self::needs_request) returns `true`.
    fn response(&self, error: &Error, request: Option<&Parts>) -> Response<Body>;

    /// Returns whether the policy looks at the request. If so, the head of every request is copied beforehand, because
    /// the request itself is gone when a guest fails. Defaults to `false`, which costs nothing.
    fn needs_request(&self) -> bool {
        false
    }
}

impl<F> FailurePolicy for F
where
    F: Fn(&Error, &Parts) -> Response<Body> + Send + Sync + 'static,
{
    fn response(&self, error: &Error, request: Option<&Parts>) -> Response<Body> {
        match request {
            Some(request) => self(error, request),
            None => self(error, &Request::new(()).into_parts().0),
        }
    }

    fn needs_request(&self) -> bool {
        true
    }
}

/// Logs why a guest failed open, and adds the error to the response.
pub(crate) fn fail_open(error: Error, response: Response<Body>) -> Response<Body> {
    error.log(match error.phase() {
        Some(Phase::Response) => "; the response continues unchanged",
        _ => "; the request continues unchanged",
    });
    with_error(response, error)
}

/// Adds the error to the response, for services around this one.
fn with_error(mut response: Response<Body>, error: Error) -> Response<Body> {
    response.extensions_mut().insert(Arc::new(error));
    response
}

/// A copy of a request's head, without its extensions.
pub(crate) fn head_of<B>(request: &Request<B>) -> Parts {
    let mut head = Request::new(()).into_parts().0;
    head.method = request.method().clone();
    head.uri = request.uri().clone();
    head.version = request.version();
    head.headers = request.headers().clone();
    head
}

/// The policy as stored with each request.
#[derive(Clone)]
pub(crate) enum Policy {
    /// A policy without data, like those provided here: copying it needs no reference count.
    Plain(&'static dyn FailurePolicy),
    Shared(Arc<dyn FailurePolicy>),
}

impl Policy {
    pub(crate) fn new<P: FailurePolicy>(policy: P) -> Self {
        match size_of::<P>() {
            // A box of a zero-sized type doesn't allocate, so nothing is leaked.
            0 => Self::Plain(Box::leak(Box::new(policy))),
            _ => Self::Shared(Arc::new(policy)),
        }
    }

    #[inline]
    pub(crate) fn get(&self) -> &dyn FailurePolicy {
        match self {
            Self::Plain(policy) => *policy,
            Self::Shared(policy) => &**policy,
        }
    }

    /// Logs why a guest failed closed, and creates the response to the request.
    #[cold]
    pub(crate) fn fail(&self, error: Error, request: Option<&Parts>) -> Response<Body> {
        error.log("");
        with_error(self.get().response(&error, request), error)
    }
}

/// The default policy: the [status](ErrorKind::response) of the failure, with `Retry-After` if a retry may succeed, and
/// no details.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HideDetails;

impl FailurePolicy for HideDetails {
    fn response(&self, error: &Error, _: Option<&Parts>) -> Response<Body> {
        let response = error.response();
        empty(response.status, response)
    }
}

/// Like [`HideDetails`], but with 504 if the guest exceeded its deadline: for a gateway, whose callers distinguish "too
/// slow" from "broken" by the status.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct GatewayTimeout;

impl FailurePolicy for GatewayTimeout {
    fn response(&self, error: &Error, _: Option<&Parts>) -> Response<Body> {
        let response = error.response();
        empty(response.gateway_status, response)
    }
}

fn empty(status: StatusCode, failure: FailureResponse) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    if let Some(seconds) = failure.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if let Some(codings) = failure.accept_encoding {
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(codings));
    }
    response
}
