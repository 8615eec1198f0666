//! One request that passes through the guests of a chain, and the response that passes back.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, HttpHost, Progress};
use pin_project_lite::pin_project;

use super::observer::{ChainObserver, GuestObserver};
use super::passed::{Failures, PassedGuests, Requested, Responded};
use super::settings::Chain;

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
        /// There is a response for the guests that have let the request pass.
        Answered { response: Option<Response<Body>> },
    }
}

/// What is still ahead of a request that waits in a guest.
struct Remaining<N, O> {
    chain: Chain,
    observer: O,
    next: N,
}

/// A guest that waits in `handle_request`.
pub(crate) struct Waiting<G: GuestObserver> {
    guest: GuestCall<Requested, G>,
    index: usize,
    source_addr: Option<SocketAddr>,
}

/// A call of a guest. It is abandoned if this is dropped before it has ended.
struct GuestCall<T, G: GuestObserver> {
    progress: Progress<T>,
    /// Until the call has ended.
    observer: Option<G>,
}

impl<T, G: GuestObserver> GuestCall<T, G> {
    fn new(progress: Progress<T>, observer: G) -> Self {
        Self { progress, observer: Some(observer) }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(T, G)> {
        let result = ready!(Pin::new(&mut self.progress).poll(cx));
        let observer = self.observer.take().expect("taken only when the call has ended");
        Poll::Ready((result, observer))
    }
}

impl<T, G: GuestObserver> Drop for GuestCall<T, G> {
    fn drop(&mut self) {
        if let Some(observer) = self.observer.take()
            && let Some(call) = self.progress.abandon()
        {
            observer.abandoned(call);
        }
    }
}

/// How far a request has come.
pub(crate) enum Forwarded<G: GuestObserver> {
    /// All guests have let it pass. The innermost one's host has it.
    Passed,
    /// A guest has answered it, or failed.
    Answered(Response<Body>),
    /// A guest waits for something.
    Waiting(Waiting<G>),
}

impl Chain {
    /// Passes the request to the guests. There is at least one.
    #[inline]
    pub(crate) fn enter<B, O>(
        &self,
        request: Request<B>,
        source_addr: Option<SocketAddr>,
        observer: &mut O,
        passed: &mut PassedGuests<O::Guest>,
        failures: &Failures,
    ) -> Forwarded<O::Guest>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        O: ChainObserver,
    {
        let host = self.host(request, source_addr);
        self.forward(0, host, source_addr, observer, passed, failures)
    }

    /// Takes the request in `host` to the guest at `index` and those behind it.
    #[inline]
    fn forward<O: ChainObserver>(
        &self,
        mut index: usize,
        mut host: HttpHost,
        source_addr: Option<SocketAddr>,
        observer: &mut O,
        passed: &mut PassedGuests<O::Guest>,
        failures: &Failures,
    ) -> Forwarded<O::Guest> {
        let guests = self.guests();
        loop {
            let observed = observer.guest(index);
            if let Some(to) = observer.informational() {
                host = host.inform_with(to);
            }
            if observer.is_sheddable() {
                host = host.sheddable();
            }
            let trace_id = observer.trace_id();
            if trace_id != 0 {
                host = host.traced_as(trace_id);
            }
            match guests[index].handle_request(host).done() {
                Ok(requested) => {
                    if let Some(response) = passed.settle(requested, observed, guests.len(), failures) {
                        return Forwarded::Answered(response);
                    }
                }
                Err(guest) => {
                    let guest = GuestCall::new(guest, observed);
                    return Forwarded::Waiting(Waiting { guest, index, source_addr });
                }
            }
            index += 1;
            if index == guests.len() {
                return Forwarded::Passed;
            }
            host = self.host(passed.take_request(), source_addr);
        }
    }

    /// What the future of an exchange needs if a guest fails. The request's head is copied only for a policy that asks
    /// for it.
    #[inline]
    pub(crate) fn failures<B>(&self, request: Option<&Request<B>>) -> Failures {
        Failures::new(self.policy(), request)
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
            let response = match this.state.as_mut().project() {
                StateProj::Requesting { waiting, rest } => {
                    let (requested, observer) = ready!(waiting.guest.poll(cx));
                    let mut rest = rest.take().expect("taken once the guest is done");
                    let settled =
                        this.passed.settle(requested, observer, rest.chain.guests().len(), this.failures);
                    let forwarded = match settled {
                        Some(response) => Forwarded::Answered(response),
                        None => rest.go_on(waiting, this.passed, this.failures),
                    };
                    match forwarded {
                        Forwarded::Passed => {
                            let response = call(rest.next, this.passed.take_request());
                            this.state.set(State::Next { response });
                            continue;
                        }
                        Forwarded::Waiting(waiting) => {
                            this.state.set(State::Requesting { waiting, rest: Some(rest) });
                            continue;
                        }
                        Forwarded::Answered(response) => response,
                    }
                }
                StateProj::Next { response } => match ready!(response.poll(cx)) {
                    Ok(response) => response.map(Body::new),
                    Err(error) => {
                        this.state.set(State::Answered { response: None });
                        // The guests learn from the drop of their instances that there is no response. Nobody waits
                        // for that.
                        this.passed.clear();
                        return Poll::Ready(Err(error));
                    }
                },
                StateProj::Responding { guest } => {
                    let (responded, observer) = ready!(guest.poll(cx));
                    this.failures.settle(responded, observer)
                }
                StateProj::Answered { response } => response.take().expect("polled after it was done"),
            };
            // Whatever the handler's future still holds is dropped before the guests run.
            this.state.set(State::Answered { response: None });
            match this.passed.resume(response, this.failures) {
                Ok(response) => return Poll::Ready(Ok(response)),
                Err((guest, observer)) => {
                    this.state.set(State::Responding { guest: GuestCall::new(guest, observer) });
                }
            }
        }
    }
}

impl<N, O: ChainObserver> Remaining<N, O> {
    /// Continues with what follows the guest that has waited.
    fn go_on(
        &mut self,
        waiting: &Waiting<O::Guest>,
        passed: &mut PassedGuests<O::Guest>,
        failures: &Failures,
    ) -> Forwarded<O::Guest> {
        let Self { chain, observer, .. } = self;
        let index = waiting.index + 1;
        if index == chain.guests().len() {
            return Forwarded::Passed;
        }
        let host = chain.host(passed.take_request(), waiting.source_addr);
        chain.forward(index, host, waiting.source_addr, observer, passed, failures)
    }
}
