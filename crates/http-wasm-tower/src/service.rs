//! The service.

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, HttpHost, Outcome};
use tower_service::Service;

use crate::future::ResponseFuture;
use crate::layer::HttpWasmLayer;

/// A service with a guest in front of it.
#[derive(Clone)]
pub struct HttpWasm<S> {
    inner: S,
    layer: HttpWasmLayer,
}

impl<S> HttpWasm<S> {
    pub(crate) fn new(inner: S, layer: HttpWasmLayer) -> Self {
        Self { inner, layer }
    }

    /// The service behind the guest.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for HttpWasm<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>> + Clone,
    ReqBody: HttpBody<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<BoxError>,
    ResBody: HttpBody<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    /// Runs the guest at once, if it has nothing to wait for: nothing is then put aside for the future, and nothing cloned.
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let HttpWasmLayer { guest, failure, find_addr } = &self.layer;
        let source_addr = find_addr(request.extensions());
        let host = HttpHost::new(request, source_addr);
        match guest.handle_request(host).done() {
            Ok(requested) => {
                let policy = failure.clone();
                if matches!(requested, Err(_) | Ok(Outcome::Respond(_))) {
                    // Nobody will call the service that was polled ready: what it has reserved is given back.
                    self.inner = self.inner.clone();
                }
                ResponseFuture::requested(requested, &mut self.inner, policy)
            }
            Err(waiting) => {
                // The inner service that was polled ready is the one to call; its clone stays behind.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::requesting(waiting, ready, failure.clone())
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for HttpWasm<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpWasm").field("inner", &self.inner).field("guest", &self.layer.guest).finish()
    }
}
