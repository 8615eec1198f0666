//! How long a guest takes: the time around it, less the time of what stands behind it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{Request, Response};
use http_wasm_tower::Error;
use pin_project_lite::pin_project;
use tower::Service;

use super::metrics::failure_kind;
use super::traces::hearing;
use super::{Exchange, GuestTimes};

/// Measures a guest from outside.
#[derive(Debug, Clone)]
pub(crate) struct AroundGuest<S> {
    guest: Arc<str>,
    inner: S,
}

/// Measures what stands behind a guest.
#[derive(Debug, Clone)]
pub(crate) struct BehindGuest<S> {
    inner: S,
}

/// When the request left a guest, and when the response came back to it. In the request's extensions.
#[derive(Debug, Clone, Default)]
struct Behind(Arc<Mutex<(Option<Instant>, Option<Instant>)>>);

impl<S> AroundGuest<S> {
    pub(crate) fn new(guest: Arc<str>, inner: S) -> Self {
        Self { guest, inner }
    }
}

impl<S> BehindGuest<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, A, B> Service<Request<A>> for AroundGuest<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Around<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let watch = request.extensions().get::<Arc<Exchange>>().cloned().map(|exchange| {
            let behind = Behind::default();
            request.extensions_mut().insert(behind.clone());
            Watch { exchange, guest: self.guest.clone(), started: Instant::now(), behind }
        });
        Around { watch, future: self.inner.call(request) }
    }
}

#[derive(Debug)]
struct Watch {
    exchange: Arc<Exchange>,
    guest: Arc<str>,
    started: Instant,
    behind: Behind,
}

impl Watch {
    /// The response may hold why a guest failed; whose failure it is, the error says.
    fn note<B>(self, response: Option<&Response<B>>) {
        let error = response.and_then(|response| response.extensions().get::<Arc<Error>>());
        let failure =
            error.filter(|error| error.guest() == &*self.guest).map(|error| failure_kind(error.kind()));
        let (left, back) = *self.behind.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        self.exchange.passed(GuestTimes {
            guest: self.guest,
            began: self.started - self.exchange.started(),
            resumed: back.map(|back| back - self.exchange.started()),
            request: left.unwrap_or(now) - self.started,
            response: back.map(|back| now - back),
            failure,
        });
    }
}

pin_project! {
    /// The future of [`AroundGuest`].
    pub(crate) struct Around<F> {
        watch: Option<Watch>,
        #[pin]
        future: F,
    }
}

impl<F, B, E> Future for Around<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let output = ready!(match this.watch {
            Some(watch) => hearing(&watch.exchange, || this.future.poll(cx)),
            None => this.future.poll(cx),
        });
        if let Some(watch) = this.watch.take() {
            watch.note(output.as_ref().ok());
        }
        Poll::Ready(output)
    }
}

impl<S, A, B> Service<Request<A>> for BehindGuest<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Inner<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let behind = request.extensions_mut().remove::<Behind>();
        if let Some(Behind(times)) = &behind {
            times.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(Instant::now());
        }
        Inner { behind, future: self.inner.call(request) }
    }
}

pin_project! {
    /// The future of [`BehindGuest`].
    pub(crate) struct Inner<F> {
        behind: Option<Behind>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Inner<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let output = ready!(this.future.poll(cx));
        if let Some(Behind(times)) = this.behind.take() {
            times.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(Instant::now());
        }
        Poll::Ready(output)
    }
}
