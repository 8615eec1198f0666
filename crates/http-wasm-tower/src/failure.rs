//! What a client gets when a guest fails.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header};
use http_wasm_host::{Body, BodyKind, Error, ErrorKind, Phase};

/// Makes the response for a request whose guest failed, and failed closed.
///
/// [`Error::kind`] tells what happened. [`HideDetails`] and [`GatewayTimeout`] are ready-made. The layer logs the error, and puts it into the response's extensions as `Arc<Error>` after this.
pub trait FailurePolicy: Send + Sync + 'static {
    /// The response. Keep the error's words out of it: clients have no business with them.
    fn response(&self, error: &Error) -> Response<Body>;
}

/// Logs why a guest failed closed, and makes the response for its request.
///
/// This is what [`HttpWasm`](crate::HttpWasm) does; for those who call guests by themselves.
pub fn fail(policy: &dyn FailurePolicy, error: Error) -> Response<Body> {
    log(&error, "");
    told(policy.response(&error), error)
}

/// Logs why a guest failed open, and lets the response that goes out in spite of it tell.
///
/// This is what [`HttpWasm`](crate::HttpWasm) does; for those who call guests by themselves.
pub fn pass_over(error: Error, response: Response<Body>) -> Response<Body> {
    log(
        &error,
        match error.phase() {
            Some(Phase::Response) => "; the response goes out as it came",
            _ => "; the request goes on as it came",
        },
    );
    told(response, error)
}

/// Logs an error, and what became of the exchange if it didn't fail.
fn log(error: &Error, instead: &str) {
    match error.kind() {
        // Peers hang up all the time, and send what is too long; neither is the guest's fault.
        ErrorKind::Body(_) => tracing::debug!(guest = error.guest(), "{error}{instead}"),
        ErrorKind::BodyTooLarge(_) => tracing::info!(guest = error.guest(), "{error}{instead}"),
        // The budget's own warning tells how many there are.
        ErrorKind::BodyMemory => tracing::debug!(guest = error.guest(), "{error}{instead}"),
        _ => tracing::error!(guest = error.guest(), backtrace = error.backtrace(), "{error}{instead}"),
    }
}

/// The response, with the error for whoever wraps the service.
fn told(mut response: Response<Body>, error: Error) -> Response<Body> {
    response.extensions_mut().insert(Arc::new(error));
    response
}

/// A policy as requests carry it along.
#[derive(Clone)]
pub(crate) enum Policy {
    /// Without data of its own, as the ready-made are: nothing is counted when it is copied.
    Plain(&'static dyn FailurePolicy),
    Shared(Arc<dyn FailurePolicy>),
}

impl Policy {
    pub(crate) fn new<P: FailurePolicy>(policy: P) -> Self {
        match size_of::<P>() {
            // A box of nothing takes no memory, so none is leaked.
            0 => Self::Plain(Box::leak(Box::new(policy))),
            _ => Self::Shared(Arc::new(policy)),
        }
    }

    pub(crate) fn fail(&self, error: Error) -> Response<Body> {
        match self {
            Self::Plain(policy) => fail(*policy, error),
            Self::Shared(policy) => fail(&**policy, error),
        }
    }
}

/// The default: a status that says who is to blame, and nothing else.
///
/// | failure | status |
/// | --- | --- |
/// | the request's body is over the replay cap | 413 |
/// | the request's body could not be read | 400 |
/// | the response's body is over the replay cap, or could not be read | 502 |
/// | there is no instance for it, and no room for one now; or the guest keeps failing to start | 503, with `Retry-After` |
/// | there is no room for its body now, or there is none any more | 503, with `Retry-After` |
/// | everything else | 500 |
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HideDetails;

impl FailurePolicy for HideDetails {
    fn response(&self, error: &Error) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status(error.kind());
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        if let Some(seconds) = retry_after(error) {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The same, but a guest that overran its deadline is a 504: for a gateway, whose callers tell "too slow" from
/// "broken" by the status.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct GatewayTimeout;

impl FailurePolicy for GatewayTimeout {
    fn response(&self, error: &Error) -> Response<Body> {
        let mut response = HideDetails.response(error);
        if error.kind() == ErrorKind::Deadline {
            *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        }
        response
    }
}

/// The seconds after which it makes sense to try again, for what may pass by itself.
fn retry_after(error: &Error) -> Option<u64> {
    let wait = error.retry_after()?;
    // Whole seconds, and never "at once".
    Some(wait.as_millis().div_ceil(1000).clamp(1, 3600) as u64)
}

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::BodyTooLarge(BodyKind::Request) => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Body(BodyKind::Request) => StatusCode::BAD_REQUEST,
        ErrorKind::BodyTooLarge(BodyKind::Response) | ErrorKind::Body(BodyKind::Response) => {
            StatusCode::BAD_GATEWAY
        }
        ErrorKind::Unavailable | ErrorKind::BodyMemory => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Trap
        | ErrorKind::HostCall
        | ErrorKind::Exit
        | ErrorKind::Deadline
        | ErrorKind::Limit
        | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        // A kind of a newer core is nothing the client did.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
