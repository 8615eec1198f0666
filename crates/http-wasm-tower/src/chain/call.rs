//! The future of an exchange.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError};
use pin_project_lite::pin_project;

use super::{ChainObserver, Exchange};

pin_project! {
    /// The response of [`Chain::call`](super::Chain::call).
    #[must_use = "guests that wait, and the next handler, go on only when it is polled"]
    pub struct ChainFuture<N, F, O>
    where
        O: ChainObserver,
    {
        #[pin]
        exchange: Exchange<N, F, O>,
    }
}

impl<N, F, O: ChainObserver> ChainFuture<N, F, O> {
    #[inline]
    pub(super) fn new(exchange: Exchange<N, F, O>) -> Self {
        Self { exchange }
    }
}

impl<N, F, O, R, E> Future for ChainFuture<N, F, O>
where
    N: FnOnce(Request<Body>) -> F,
    F: Future<Output = Result<Response<R>, E>>,
    O: ChainObserver,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().exchange.poll_with(cx, |next, request| next(request))
    }
}

impl<N, F, O: ChainObserver> fmt::Debug for ChainFuture<N, F, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainFuture").finish_non_exhaustive()
    }
}
