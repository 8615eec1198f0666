//! An exchange in which guests still write the request while the next handler has it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, Outcome};

use super::forward::{Forwarded, GuestCall, Position, Remaining, Waiting, Writing};
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
    inner: Inner<N, F, O>,
    writers: Writers<O::Guest>,
    /// The number of guests of the chain.
    length: usize,
}

/// The part of the exchange behind the innermost guest that writes.
enum Inner<N, F, O>
where
    O: ChainObserver,
{
    /// The request is on its way to the guest at this position, or the next handler.
    Forward { request: Request<Body>, at: Position, rest: Remaining<N, O> },
    /// A guest waits in `handle_request`.
    Requesting { waiting: Waiting<O::Guest>, rest: Remaining<N, O> },
    /// The next handler has the request.
    Next(Pin<Box<F>>),
    /// A guest waits in `handle_response`.
    Responding(GuestCall<Responded, O::Guest>),
    /// There is a response.
    Answered(Response<Body>),
    /// While it changes, and once there is nothing more to poll.
    Taken,
}

/// The guests that write the request, outermost first.
struct Writers<G: GuestObserver>(Vec<Writer<G>>);

struct Writer<G: GuestObserver> {
    /// The guests between it and the next writer, or the next handler, that have let the request pass.
    passed: PassedGuests<G>,
    guest: WritingGuest<G>,
}

impl<G: GuestObserver> Writers<G> {
    /// The guests that have let the request pass since the innermost writer. `outer` are those in front of all writers.
    fn passed<'a>(&'a mut self, outer: &'a mut PassedGuests<G>) -> &'a mut PassedGuests<G> {
        self.0.last_mut().map_or(outer, |writer| &mut writer.passed)
    }

    /// Drops all writers but the first `kept`, the innermost first.
    fn truncate(&mut self, kept: usize) {
        while self.0.len() > kept {
            self.0.pop();
        }
    }
}

impl<G: GuestObserver> Drop for Writers<G> {
    fn drop(&mut self) {
        self.truncate(0);
    }
}

impl<N, F, O: ChainObserver> StreamedExchange<N, F, O> {
    pub(super) fn new(writing: Writing<O::Guest>, rest: Remaining<N, O>) -> Self {
        let length = rest.chain.guests().len();
        let mut new = Self { inner: Inner::Taken, writers: Writers(Vec::new()), length };
        new.add_writer(writing, rest);
        new
    }

    /// Takes the request of a guest that has begun to write it.
    fn add_writer(&mut self, writing: Writing<O::Guest>, rest: Remaining<N, O>) {
        let Writing { mut guest, at } = writing;
        let request = guest.stream.host_mut().take_request(false);
        self.writers.0.push(Writer { passed: PassedGuests::default(), guest });
        self.inner = Inner::Forward { request, at: Position { index: at.index + 1, ..at }, rest };
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
            match self.poll_inner(cx, outer, failures, &call) {
                Poll::Ready(Err(error)) => {
                    // The guests learn from the drop of their calls and instances that there is no response. Nobody
                    // waits for that.
                    self.inner = Inner::Taken;
                    self.writers.truncate(0);
                    outer.clear();
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(response)) => match self.writers.0.last_mut() {
                    None => return Poll::Ready(Ok(response)),
                    Some(writer) => {
                        writer.guest.stream.on_response();
                        self.inner = Inner::Answered(response);
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
    fn poll_inner<R, E>(
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
            let passed = self.writers.passed(outer);
            let response = match std::mem::replace(&mut self.inner, Inner::Taken) {
                Inner::Forward { request, at, rest } if at.index == self.length => {
                    self.inner = Inner::Next(Box::pin(call(rest.next, request)));
                    continue;
                }
                Inner::Forward { request, at, mut rest } => {
                    let Remaining { chain, observer, .. } = &mut rest;
                    let host = chain.host(request, at.source_addr);
                    let forwarded = chain.forward(at.index, host, at.source_addr, observer, passed, failures);
                    match self.forwarded(forwarded, rest, outer, &call) {
                        Some(response) => response,
                        None => continue,
                    }
                }
                Inner::Requesting { mut waiting, mut rest } => {
                    let Poll::Ready((requested, observer)) = waiting.guest.poll(cx) else {
                        self.inner = Inner::Requesting { waiting, rest };
                        return Poll::Pending;
                    };
                    let forwarded = rest.settle(requested, observer, waiting.at, passed, failures);
                    match self.forwarded(forwarded, rest, outer, &call) {
                        Some(response) => response,
                        None => continue,
                    }
                }
                Inner::Next(mut response) => match response.as_mut().poll(cx) {
                    Poll::Ready(Ok(response)) => response.map(Body::new),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.inner = Inner::Next(response);
                        return Poll::Pending;
                    }
                },
                Inner::Responding(mut guest) => match guest.poll(cx) {
                    Poll::Ready((responded, observer)) => {
                        failures.settle(responded, observer).into_response()
                    }
                    Poll::Pending => {
                        self.inner = Inner::Responding(guest);
                        return Poll::Pending;
                    }
                },
                Inner::Answered(response) => response,
                Inner::Taken => unreachable!("polled after it was done"),
            };
            let passed = self.writers.passed(outer);
            let Some(guest) = passed.pop() else { return Poll::Ready(Ok(response)) };
            match passed.respond(guest, response, failures) {
                Ok(host) => return Poll::Ready(Ok(host.into_response())),
                Err((guest, observer)) => self.inner = Inner::Responding(GuestCall::new(guest, observer)),
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
                let request = self.writers.passed(outer).take_request();
                self.inner = Inner::Next(Box::pin(call(rest.next, request)));
            }
            Forwarded::Waiting(waiting) => self.inner = Inner::Requesting { waiting, rest },
            Forwarded::Writing(writing) => self.add_writer(writing, rest),
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
        for index in 0..self.writers.0.len() {
            let Poll::Ready((requested, observer)) = self.writers.0[index].guest.poll(cx) else { continue };
            if !matches!(requested, Ok(Outcome::Next(_))) {
                // Its response, or its failure, replaces that of everything behind it.
                self.inner = Inner::Taken;
                self.writers.truncate(index + 1);
            }
            let Writer { passed: behind, guest: _ended } = self.writers.0.remove(index);
            let passed = match index.checked_sub(1) {
                Some(before) => &mut self.writers.0[before].passed,
                None => &mut *outer,
            };
            match passed.settle(requested, observer, self.length, failures) {
                Settled::Passed => passed.append(behind, self.length),
                Settled::Answered(response) => {
                    drop(behind);
                    self.inner = Inner::Answered(response);
                }
                Settled::Writing(_) => unreachable!("a stream ends with a decision"),
            }
            return true;
        }
        false
    }
}
