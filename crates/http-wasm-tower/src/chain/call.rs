//! Calls of a chain.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, HttpHost};
use pin_project_lite::pin_project;

use super::exchange::Exchange;
use super::forward::Forwarded;
use super::observer::ChainObserver;
use super::passed::{Failures, PassedGuests};
use super::settings::Chain;

impl Chain {
    /// Passes a request through the guests to `next`, and the response back through them.
    ///
    /// Guests that have nothing to wait for run within this call. `next` is called once, or not at all if a guest
    /// responds itself or fails. If `next` fails, the guests are called with `is_error` = 1, and its error is returned.
    /// Dropping the future ends the exchange: a guest that waits for a body loses its instance, one that computes
    /// continues in the background, and the others clean up, innermost first.
    ///
    /// # Errors
    /// The future returns the error of `next`. If a guest fails, the result is a response; see
    /// [`failure_policy`](Self::failure_policy).
    #[inline]
    pub fn call<B, N, F, R, E>(&self, request: Request<B>, next: N) -> ChainFuture<N, F, ()>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        N: FnOnce(Request<Body>) -> F,
        F: Future<Output = Result<Response<R>, E>>,
    {
        let source_addr = self.find_addr(request.extensions());
        self.call_observed(request, source_addr, (), next)
    }

    /// Like [`call`](Self::call), with the client's address if it is known, and an observer of each guest's part in the
    /// exchange.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    #[inline]
    pub fn call_observed<B, N, F, R, E, O>(
        &self,
        request: Request<B>,
        source_addr: Option<SocketAddr>,
        observer: O,
        next: N,
    ) -> ChainFuture<N, F, O>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        N: FnOnce(Request<Body>) -> F,
        F: Future<Output = Result<Response<R>, E>>,
        O: ChainObserver,
    {
        if self.is_empty() {
            let response = next(request.map(Body::new));
            return ChainFuture::new(Exchange::passed(
                response,
                PassedGuests::default(),
                self.failures::<B>(None),
            ));
        }
        let failures = self.failures(Some(&request));
        self.call_with(self.host(request, source_addr), source_addr, observer, next, failures)
    }

    /// Like [`call_observed`](Self::call_observed), for a request that stays in its place: in `kept`, which `next` gets
    /// once the guests have passed the request on. Until then, the request in it is empty. This is faster than moving a
    /// request into the chain and out again.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    #[inline]
    pub fn call_kept<K, N, F, R, E, O>(
        &self,
        mut kept: K,
        source_addr: Option<SocketAddr>,
        observer: O,
        next: N,
    ) -> ChainFuture<impl FnOnce(Request<Body>) -> F + use<K, N, F, R, E, O>, F, O>
    where
        K: AsMut<Request<Body>>,
        N: FnOnce(K) -> F,
        F: Future<Output = Result<Response<R>, E>>,
        O: ChainObserver,
    {
        if self.is_empty() {
            let (passed, failures) = (PassedGuests::default(), self.failures::<Body>(None));
            return ChainFuture::new(Exchange::passed(next(kept), passed, failures));
        }
        let failures = self.failures(Some(&*kept.as_mut()));
        let host = self.host_of(kept.as_mut(), source_addr);
        let next = move |request| {
            *kept.as_mut() = request;
            next(kept)
        };
        self.call_with(host, source_addr, observer, next, failures)
    }

    /// Passes the request in `host` through the guests.
    #[inline]
    fn call_with<N, F, O>(
        &self,
        host: HttpHost,
        source_addr: Option<SocketAddr>,
        mut observer: O,
        next: N,
        failures: Failures,
    ) -> ChainFuture<N, F, O>
    where
        N: FnOnce(Request<Body>) -> F,
        O: ChainObserver,
    {
        let mut passed = PassedGuests::default();
        let forwarded = self.forward(0, host, source_addr, &mut observer, &mut passed, &failures);
        ChainFuture::new(match forwarded {
            // Written out, as the handler's future may hold the request, and would be copied once more on its way.
            Forwarded::Passed => {
                let response = next(passed.take_request());
                Exchange::passed(response, passed, failures)
            }
            Forwarded::Answered(response) => Exchange::answered(response, passed, failures),
            Forwarded::Waiting(waiting) => {
                Exchange::waiting(waiting, self.clone(), observer, next, passed, failures)
            }
            Forwarded::Writing(writing) => {
                Exchange::writing(writing, self.clone(), observer, next, passed, failures)
            }
        })
    }
}

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
    fn new(exchange: Exchange<N, F, O>) -> Self {
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
