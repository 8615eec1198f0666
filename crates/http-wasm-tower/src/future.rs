//! One request on its way through a guest.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, Error, ErrorKind, Handled, HttpHost, Outcome};
use tower_service::Service;

use crate::layer::HttpWasmLayer;

/// The response of [`HttpWasm`](crate::HttpWasm).
pub struct ResponseFuture<E>(Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>);

impl<E> ResponseFuture<E> {
    pub(crate) fn new(future: impl Future<Output = Result<Response<Body>, E>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl<E> Future for ResponseFuture<E> {
    type Output = Result<Response<Body>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<E> fmt::Debug for ResponseFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// Takes a request through the guest, the inner service if the guest lets it, and the guest again.
pub(crate) async fn serve<S, ResBody>(
    mut inner: S,
    layer: HttpWasmLayer,
    request: Request<Body>,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<ResBody>>,
    ResBody: HttpBody<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    let source_addr = (layer.find_addr)(request.extensions());
    let outcome = layer.guest.handle_request(HttpHost::new(request, source_addr)).await;
    let mut pinned = match outcome {
        Ok(Outcome::Respond(host)) => return Ok(host.into_response()),
        Ok(Outcome::Next(pinned)) => pinned,
        Ok(Outcome::Bypassed { mut host, error }) => {
            log(&error, "; the request goes on as it came");
            let response = inner.call(host.take_request(false)).await?;
            return Ok(told(response.map(Body::new), error));
        }
        Err(error) => return Ok(failed(&layer, error)),
    };
    let keep_head = pinned.reads_request();
    let request = pinned.host_mut().take_request(keep_head);
    match inner.call(request).await {
        Ok(response) => {
            pinned.host_mut().set_response(response.map(Body::new));
            match pinned.handle_response().await {
                Ok(Handled { host, error: None }) => Ok(host.into_response()),
                Ok(Handled { host, error: Some(error) }) => {
                    log(&error, "; the response goes out as it came");
                    Ok(told(host.into_response(), error))
                }
                Err(error) => Ok(failed(&layer, error)),
            }
        }
        // No response at all: dropping the pinned instance tells the guest so, and nobody waits for that.
        Err(error) => Err(error),
    }
}

fn failed(layer: &HttpWasmLayer, error: Error) -> Response<Body> {
    log(&error, "");
    told(layer.failure.response(&error), error)
}

/// Logs an error, and what became of the exchange if it didn't fail.
fn log(error: &Error, instead: &str) {
    match error.kind() {
        // Peers hang up all the time, and send what is too long; neither is the guest's fault.
        ErrorKind::Body(_) => tracing::debug!(guest = error.guest(), "{error}{instead}"),
        ErrorKind::BodyTooLarge(_) => tracing::info!(guest = error.guest(), "{error}{instead}"),
        _ => tracing::error!(guest = error.guest(), backtrace = error.backtrace(), "{error}{instead}"),
    }
}

/// The response, with the error for whoever wraps the service.
fn told(mut response: Response<Body>, error: Error) -> Response<Body> {
    response.extensions_mut().insert(Arc::new(error));
    response
}
