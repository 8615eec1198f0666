//! An exchange in which guests still write the request while the next handler has it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, Outcome};

use super::forward::{BegunWriting, Forwarded, GuestCall, Position, Remaining, Waiting};
use super::observer::{ChainObserver, GuestObserver};
use super::passed::{Failures, PassedGuests, Responded, Settled};
use super::writing::WritingGuest;

/// The part of an exchange that begins with the outermost guest that writes the request.
///
/// Its guests and the next handler run at the same time. The response stays here until the guests in front of it have
/// written the request.
pub(super) struct StreamedExchange<N, F, O>
where
    O: ChainObserver,
{
    /// Dropped first: what is behind a guest ends before it.
    tail: Tail<N, F, O>,
    layers: Layers<O::Guest>,
    /// The number of guests of the chain.
    length: usize,
}

/// What is behind the innermost guest that writes.
enum Tail<N, F, O>
where
    O: ChainObserver,
{
    /// The request is on its way to the guest at this position, or the next handler.
    Forward {
        request: Request<Body>,
        at: Position,
        rest: Remaining<N, O>,
    },
    /// A guest waits in `handle_request`.
    Requesting {
        waiting: Waiting<O::Guest>,
        rest: Remaining<N, O>,
    },
    /// The next handler has the request.
    Next(Pin<Box<F>>),
    /// A guest waits in `handle_response`.
    Responding(GuestCall<Responded, O::Guest>),
    /// There is a response.
    Answered(Response<Body>),
    Taken,
}

/// Guests that write the request, outermost first.
struct Layers<G: GuestObserver>(Vec<Layer<G>>);

struct Layer<G: GuestObserver> {
    /// The guests behind it that have let the request pass, up to the next one that writes.
    passed: PassedGuests<G>,
    guest: WritingGuest<G>,
}

impl<G: GuestObserver> Layers<G> {
    /// The guests that have let the request pass last. `outer` are those in front of all layers.
    fn passed<'a>(&'a mut self, outer: &'a mut PassedGuests<G>) -> &'a mut PassedGuests<G> {
        self.0.last_mut().map_or(outer, |layer| &mut layer.passed)
    }

    /// Drops the layers behind the first `kept`, the innermost first.
    fn truncate(&mut self, kept: usize) {
        while self.0.len() > kept {
            self.0.pop();
        }
    }
}

impl<G: GuestObserver> Drop for Layers<G> {
    fn drop(&mut self) {
        self.truncate(0);
    }
}

impl<N, F, O: ChainObserver> StreamedExchange<N, F, O> {
    pub(super) fn new(begun: BegunWriting<O::Guest>, rest: Remaining<N, O>) -> Self {
        let length = rest.chain.guests().len();
        let mut new = Self { tail: Tail::Taken, layers: Layers(Vec::new()), length };
        new.begin_layer(begun, rest);
        new
    }

    /// Takes the request of a guest that has begun to write it.
    fn begin_layer(&mut self, begun: BegunWriting<O::Guest>, rest: Remaining<N, O>) {
        let BegunWriting { mut guest, at } = begun;
        let request = guest.stream.host_mut().take_request(false);
        self.layers.0.push(Layer { passed: PassedGuests::default(), guest });
        self.tail = Tail::Forward { request, at: Position { index: at.index + 1, ..at }, rest };
    }

    /// Polls for the response of all guests. `outer` are those in front of the ones that write.
    pub(super) fn poll_with<R, E>(
        &mut self,
        cx: &mut Context<'_>,
        outer: &mut PassedGuests<O::Guest>,
        failures: &Failures,
        call: impl Fn(N, Request<Body>) -> F,
    ) -> Poll<Result<Response<Body>, E>>
    where
        F: Future<Output = Result<Response<R>, E>>,
        R: HttpBody<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        loop {
            match self.poll_tail(cx, outer, failures, &call) {
                Poll::Ready(Err(error)) => {
                    // The guests learn from the drop of their calls and instances that there is no response. Nobody
                    // waits for that.
                    self.tail = Tail::Taken;
                    self.layers.truncate(0);
                    outer.clear();
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(response)) => match self.layers.0.last_mut() {
                    None => return Poll::Ready(Ok(response)),
                    Some(layer) => {
                        layer.guest.stream.answered();
                        self.tail = Tail::Answered(response);
                    }
                },
                Poll::Pending => {}
            }
            if !self.poll_guests(cx, outer, failures) {
                return Poll::Pending;
            }
        }
    }

    /// Polls for the response to the innermost guest that writes.
    fn poll_tail<R, E>(
        &mut self,
        cx: &mut Context<'_>,
        outer: &mut PassedGuests<O::Guest>,
        failures: &Failures,
        call: impl Fn(N, Request<Body>) -> F,
    ) -> Poll<Result<Response<Body>, E>>
    where
        F: Future<Output = Result<Response<R>, E>>,
        R: HttpBody<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        loop {
            let passed = self.layers.passed(outer);
            let response = match std::mem::replace(&mut self.tail, Tail::Taken) {
                Tail::Forward { request, at, rest } if at.index == self.length => {
                    self.tail = Tail::Next(Box::pin(call(rest.next, request)));
                    continue;
                }
                Tail::Forward { request, at, mut rest } => {
                    let Remaining { chain, observer, .. } = &mut rest;
                    let host = chain.host(request, at.source_addr);
                    let forwarded = chain.forward(at.index, host, at.source_addr, observer, passed, failures);
                    match self.forwarded(forwarded, rest, outer, &call) {
                        Some(response) => response,
                        None => continue,
                    }
                }
                Tail::Requesting { mut waiting, mut rest } => {
                    let Poll::Ready((requested, observer)) = waiting.guest.poll(cx) else {
                        self.tail = Tail::Requesting { waiting, rest };
                        return Poll::Pending;
                    };
                    let forwarded = rest.settle(requested, observer, waiting.at, passed, failures);
                    match self.forwarded(forwarded, rest, outer, &call) {
                        Some(response) => response,
                        None => continue,
                    }
                }
                Tail::Next(mut response) => match response.as_mut().poll(cx) {
                    Poll::Ready(Ok(response)) => response.map(Body::new),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.tail = Tail::Next(response);
                        return Poll::Pending;
                    }
                },
                Tail::Responding(mut guest) => match guest.poll(cx) {
                    Poll::Ready((responded, observer)) => {
                        failures.settle(responded, observer).into_response()
                    }
                    Poll::Pending => {
                        self.tail = Tail::Responding(guest);
                        return Poll::Pending;
                    }
                },
                Tail::Answered(response) => response,
                Tail::Taken => unreachable!("polled after it was done"),
            };
            match self.layers.passed(outer).respond(response, failures) {
                Ok(response) => return Poll::Ready(Ok(response)),
                Err((guest, observer)) => self.tail = Tail::Responding(GuestCall::new(guest, observer)),
            }
        }
    }

    /// Follows a request to where it has come. Returns the response if it has got one.
    fn forwarded(
        &mut self,
        forwarded: Forwarded<O::Guest>,
        rest: Remaining<N, O>,
        outer: &mut PassedGuests<O::Guest>,
        call: impl Fn(N, Request<Body>) -> F,
    ) -> Option<Response<Body>> {
        match forwarded {
            Forwarded::Answered(response) => return Some(response),
            Forwarded::Passed => {
                let request = self.layers.passed(outer).take_request();
                self.tail = Tail::Next(Box::pin(call(rest.next, request)));
            }
            Forwarded::Waiting(waiting) => self.tail = Tail::Requesting { waiting, rest },
            Forwarded::Writing(begun) => self.begin_layer(begun, rest),
        }
        None
    }

    /// Runs the guests that write. Returns whether one has ended, so that what is behind the others may go on.
    fn poll_guests(
        &mut self,
        cx: &mut Context<'_>,
        outer: &mut PassedGuests<O::Guest>,
        failures: &Failures,
    ) -> bool {
        for index in 0..self.layers.0.len() {
            let Poll::Ready((requested, observer)) = self.layers.0[index].guest.poll(cx) else { continue };
            if !matches!(requested, Ok(Outcome::Next(_))) {
                // Nothing of what is behind it matters any more.
                self.tail = Tail::Taken;
                self.layers.truncate(index + 1);
            }
            let Layer { passed: inner, guest: _ended } = self.layers.0.remove(index);
            let passed = match index.checked_sub(1) {
                Some(before) => &mut self.layers.0[before].passed,
                None => &mut *outer,
            };
            match passed.settle(requested, observer, self.length, failures) {
                Settled::Passed => passed.append(inner, self.length),
                Settled::Answered(response) => {
                    drop(inner);
                    self.tail = Tail::Answered(response);
                }
                Settled::Writing(_) => unreachable!("a stream ends with a decision"),
            }
            return true;
        }
        false
    }
}
