//! One request on its way through a guest.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, Error, Handled, HttpHost, Outcome, Pinned, Progress};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::failure::{Policy, pass_over};

type Requested = Result<Outcome<HttpHost>, Error>;
type Responded = Result<Handled<HttpHost>, Error>;

pin_project! {
    /// The response of [`HttpWasm`](crate::HttpWasm).
    pub struct ResponseFuture<S>
    where
        S: Service<Request<Body>>,
    {
        #[pin]
        state: State<S, S::Future>,
        policy: Policy,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F> {
        /// The guest waits in `handle_request`.
        Requesting { guest: Progress<Requested>, inner: S },
        /// The inner service has the request, with the guest's instance pinned to it.
        Inner { #[pin] response: F, pinned: Option<Pinned<HttpHost>> },
        /// The inner service has the request, and the guest, which failed open, no part in it.
        Bypassed { #[pin] response: F, error: Option<Error> },
        /// The guest waits in `handle_response`.
        Responding { guest: Progress<Responded> },
        Done { response: Option<Response<Body>> },
    }
}

impl<S, ResBody> ResponseFuture<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>>,
    ResBody: HttpBody<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    /// Goes on behind the guest's first function, which is done.
    #[inline]
    pub(crate) fn requested(requested: Requested, inner: &mut S, policy: Policy) -> Self {
        match requested {
            // Written out, as the inner service's future may hold the request, and would be copied once more on its way.
            Ok(Outcome::Next(mut pinned)) => {
                let response = inner.call(next_request(&mut pinned));
                Self { state: State::Inner { response, pinned: Some(pinned) }, policy }
            }
            other => Self { state: State::requested(other, inner, &policy), policy },
        }
    }

    /// Waits for the guest's first function; `inner` is ready for a call.
    pub(crate) fn requesting(guest: Progress<Requested>, inner: S, policy: Policy) -> Self {
        Self { state: State::Requesting { guest, inner }, policy }
    }
}

impl<S, ResBody> State<S, S::Future>
where
    S: Service<Request<Body>, Response = Response<ResBody>>,
{
    #[inline]
    fn requested(requested: Requested, inner: &mut S, policy: &Policy) -> Self {
        match requested {
            Ok(Outcome::Next(mut pinned)) => {
                let response = inner.call(next_request(&mut pinned));
                Self::Inner { response, pinned: Some(pinned) }
            }
            Ok(Outcome::Respond(host)) => Self::Done { response: Some(host.into_response()) },
            Ok(Outcome::Bypassed { mut host, error }) => {
                Self::Bypassed { response: inner.call(host.take_request(false)), error: Some(error) }
            }
            Err(error) => Self::Done { response: Some(policy.fail(error)) },
        }
    }
}

impl<S, ResBody> Future for ResponseFuture<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>>,
    ResBody: HttpBody<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Requesting { guest, inner } => {
                    let requested = ready!(Pin::new(guest).poll(cx));
                    State::requested(requested, inner, this.policy)
                }
                StateProj::Inner { response, pinned } => {
                    let response = match ready!(response.poll(cx)) {
                        Ok(response) => response.map(Body::new),
                        Err(error) => {
                            // Of no response at all the guest is told by the drop of its instance, and nobody waits for that.
                            this.state.set(State::Done { response: None });
                            return Poll::Ready(Err(error));
                        }
                    };
                    let mut pinned = pinned.take().expect("the inner service answers once");
                    pinned.host_mut().set_response(response);
                    match pinned.handle_response().done() {
                        Ok(responded) => {
                            this.state.set(State::Done { response: None });
                            return Poll::Ready(Ok(respond(responded, this.policy)));
                        }
                        Err(guest) => State::Responding { guest },
                    }
                }
                StateProj::Bypassed { response, error } => {
                    let response = ready!(response.poll(cx))?.map(Body::new);
                    let error = error.take().expect("the inner service answers once");
                    return Poll::Ready(Ok(pass_over(error, response)));
                }
                StateProj::Responding { guest } => {
                    let responded = ready!(Pin::new(guest).poll(cx));
                    return Poll::Ready(Ok(respond(responded, this.policy)));
                }
                StateProj::Done { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after it was done")));
                }
            };
            this.state.set(next);
        }
    }
}

#[inline]
fn next_request(pinned: &mut Pinned<HttpHost>) -> Request<Body> {
    let keep_head = pinned.reads_request();
    pinned.host_mut().take_request(keep_head)
}

fn respond(responded: Responded, policy: &Policy) -> Response<Body> {
    match responded {
        Ok(Handled { host, error: None }) => host.into_response(),
        Ok(Handled { host, error: Some(error) }) => pass_over(error, host.into_response()),
        Err(error) => policy.fail(error),
    }
}

impl<S: Service<Request<Body>>> fmt::Debug for ResponseFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
