//! One request that passes through the guests of a chain, and the response that passes back.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError};
use pin_project_lite::pin_project;

use super::forward::{Forwarded, GuestCall, Remaining, Waiting, Writing};
use super::observer::ChainObserver;
use super::passed::{Failures, PassedGuests, Responded};
use super::settings::Chain;
use super::streamed::StreamedExchange;

pin_project! {
    /// An exchange. `N` is the next handler, which returns an `F` when it is called.
    pub(crate) struct Exchange<N, F, O>
    where
        O: ChainObserver,
    {
        // Dropped first: a running call ends, or goes on in the background, before the guests that have let the
        // request pass are notified.
        #[pin]
        state: State<N, F, O>,
        passed: PassedGuests<O::Guest>,
        failures: Failures,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<N, F, O>
    where
        O: ChainObserver,
    {
        /// A guest waits in `handle_request`.
        Requesting { waiting: Waiting<O::Guest>, rest: Option<Remaining<N, O>> },
        /// The next handler has the request.
        Next { #[pin] response: F },
        /// A guest waits in `handle_response`.
        Responding { guest: GuestCall<Responded, O::Guest> },
        /// Guests still write the request.
        Streaming { streamed: Box<StreamedExchange<N, F, O>> },
        /// There is a response for the guests that have let the request pass.
        Answered { response: Option<Response<Body>> },
    }
}

impl<N, F, O: ChainObserver> Exchange<N, F, O> {
    /// The next handler has been called.
    #[inline]
    pub(crate) fn passed(response: F, passed: PassedGuests<O::Guest>, failures: Failures) -> Self {
        Self { state: State::Next { response }, passed, failures }
    }

    /// A guest has answered or failed.
    pub(crate) fn answered(
        response: Response<Body>,
        passed: PassedGuests<O::Guest>,
        failures: Failures,
    ) -> Self {
        Self { state: State::Answered { response: Some(response) }, passed, failures }
    }

    /// A guest waits.
    pub(crate) fn waiting(
        waiting: Waiting<O::Guest>,
        chain: Chain,
        observer: O,
        next: N,
        passed: PassedGuests<O::Guest>,
        failures: Failures,
    ) -> Self {
        let rest = Some(Remaining { chain, observer, next });
        Self { state: State::Requesting { waiting, rest }, passed, failures }
    }

    /// A guest writes the request.
    #[cold]
    pub(crate) fn writing(
        writing: Writing<O::Guest>,
        chain: Chain,
        observer: O,
        next: N,
        passed: PassedGuests<O::Guest>,
        failures: Failures,
    ) -> Self {
        let streamed = StreamedExchange::new(writing, Remaining { chain, observer, next });
        Self { state: State::Streaming { streamed: Box::new(streamed) }, passed, failures }
    }

    /// Polls for the response; `call` calls the next handler.
    #[inline]
    pub(crate) fn poll_with<R, E>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        call: impl Fn(N, Request<Body>) -> F,
    ) -> Poll<Result<Response<Body>, E>>
    where
        F: Future<Output = Result<Response<R>, E>>,
        R: HttpBody<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let mut this = self.project();
        loop {
            let handled = match this.state.as_mut().project() {
                StateProj::Requesting { waiting, rest } => {
                    let (requested, observer) = ready!(waiting.guest.poll(cx));
                    let mut rest = rest.take().expect("taken once the guest is done");
                    let forwarded = rest.settle(requested, observer, waiting.at, this.passed, this.failures);
                    this.state.set(match forwarded {
                        Forwarded::Passed => {
                            State::Next { response: call(rest.next, this.passed.take_request()) }
                        }
                        Forwarded::Waiting(waiting) => State::Requesting { waiting, rest: Some(rest) },
                        Forwarded::Writing(writing) => {
                            State::Streaming { streamed: Box::new(StreamedExchange::new(writing, rest)) }
                        }
                        Forwarded::Answered(response) => State::Answered { response: Some(response) },
                    });
                    continue;
                }
                StateProj::Next { response } => {
                    let responded = ready!(response.poll(cx));
                    // Whatever the handler's future still holds is dropped before the guests run.
                    this.state.set(State::Answered { response: None });
                    let response = match responded {
                        Ok(response) => response,
                        Err(error) => {
                            // The guests learn from the drop of their instances that there is no response. Nobody
                            // waits for that.
                            this.passed.clear();
                            return Poll::Ready(Err(error));
                        }
                    };
                    let Some(guest) = this.passed.pop() else {
                        return Poll::Ready(Ok(response.map(Body::new)));
                    };
                    this.passed.respond(guest, response, this.failures)
                }
                StateProj::Answered { response } => {
                    let response = response.take().expect("polled after it was done");
                    let Some(guest) = this.passed.pop() else { return Poll::Ready(Ok(response)) };
                    this.passed.respond(guest, response, this.failures)
                }
                StateProj::Responding { guest } => {
                    let (responded, observer) = ready!(guest.poll(cx));
                    this.state.set(State::Answered { response: None });
                    let host = this.failures.settle(responded, observer);
                    this.passed.resume(host, this.failures)
                }
                StateProj::Streaming { streamed } => {
                    return streamed.poll_with(cx, this.passed, this.failures, call);
                }
            };
            match handled {
                // Made where it is returned, since it is large.
                Ok(host) => return Poll::Ready(Ok(host.into_response())),
                Err((guest, observer)) => {
                    this.state.set(State::Responding { guest: GuestCall::new(guest, observer) });
                }
            }
        }
    }
}
