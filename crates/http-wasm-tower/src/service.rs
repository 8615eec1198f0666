//! The service.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::chain::{Chain, Exchange, Forwarded, PassedGuests};

/// A service with a guest in front of it, created by [`HttpWasmLayer`](crate::HttpWasmLayer).
#[derive(Clone)]
pub struct HttpWasm<S> {
    inner: S,
    chain: Chain,
}

impl<S> HttpWasm<S> {
    pub(crate) fn new(inner: S, chain: Chain) -> Self {
        Self { inner, chain }
    }

    /// Returns the service behind the guest.
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

    /// Runs the guest immediately. If it doesn't have to wait, nothing is stored in the future, and nothing is cloned.
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let Self { inner, chain } = self;
        let exchange = if chain.is_empty() {
            let failures = chain.failures::<ReqBody>(None);
            Exchange::passed(inner.call(request.map(Body::new)), PassedGuests::default(), failures)
        } else {
            let failures = chain.failures(Some(&request));
            let source_addr = chain.find_addr(request.extensions());
            let mut passed = PassedGuests::default();
            match chain.enter(request, source_addr, &mut (), &mut passed, &failures) {
                // Not in a helper function: the inner service's future may contain the request, and would be copied
                // once more.
                Forwarded::Passed => {
                    let response = inner.call(passed.take_request());
                    Exchange::passed(response, passed, failures)
                }
                Forwarded::Answered(response) => {
                    // The service that was polled ready won't be called: release what it has reserved, such as a
                    // permit.
                    *inner = inner.clone();
                    Exchange::answered(response, passed, failures)
                }
                Forwarded::Waiting(waiting) => {
                    // Call the inner service that was polled ready, and leave its clone behind.
                    let clone = inner.clone();
                    let ready = std::mem::replace(inner, clone);
                    Exchange::waiting(waiting, chain.clone(), (), ready, passed, failures)
                }
                Forwarded::Writing(begun) => {
                    let clone = inner.clone();
                    let ready = std::mem::replace(inner, clone);
                    Exchange::writing(begun, chain.clone(), (), ready, passed, failures)
                }
            }
        };
        ResponseFuture { exchange }
    }
}

impl<S: fmt::Debug> fmt::Debug for HttpWasm<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpWasm")
            .field("inner", &self.inner)
            .field("guests", &self.chain.guests())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The response of [`HttpWasm`].
    pub struct ResponseFuture<S>
    where
        S: Service<Request<Body>>,
    {
        #[pin]
        exchange: Exchange<S, S::Future, ()>,
    }
}

impl<S, ResBody> Future for ResponseFuture<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>>,
    ResBody: HttpBody<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().exchange.poll_with(cx, |mut inner, request| inner.call(request))
    }
}

impl<S: Service<Request<Body>>> fmt::Debug for ResponseFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
