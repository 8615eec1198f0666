//! A request on its way through the guests of a chain.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, HttpHost, Progress};

use super::observer::{ChainObserver, GuestObserver};
use super::passed::{Failures, PassedGuests, Requested, Settled};
use super::settings::Chain;
use super::writing::WritingGuest;

/// What is still ahead of a request that waits in a guest.
pub(super) struct Remaining<N, O> {
    pub(super) chain: Chain,
    pub(super) observer: O,
    pub(super) next: N,
}

/// A guest that waits in `handle_request`.
pub(crate) struct Waiting<G: GuestObserver> {
    pub(super) guest: GuestCall<Requested, G>,
    pub(super) at: Position,
}

/// A guest that has begun to write the request, which proceeds to the next guest or handler.
pub(crate) struct Writing<G: GuestObserver> {
    pub(super) guest: WritingGuest<G>,
    pub(super) at: Position,
}

/// Where a request is in a chain.
#[derive(Clone, Copy)]
pub(super) struct Position {
    /// The guest's.
    pub(super) index: usize,
    pub(super) source_addr: Option<SocketAddr>,
}

/// A call of a guest. It is abandoned if this is dropped before it has ended.
pub(super) struct GuestCall<T, G: GuestObserver> {
    progress: Progress<T>,
    /// Until the call has ended.
    observer: Option<G>,
}

impl<T, G: GuestObserver> GuestCall<T, G> {
    pub(super) fn new(progress: Progress<T>, observer: G) -> Self {
        Self { progress, observer: Some(observer) }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(T, G)> {
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
    /// A guest has begun to write it.
    Writing(Writing<G>),
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
    pub(super) fn forward<O: ChainObserver>(
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
                Ok(requested) => match passed.settle(requested, observed, guests.len(), failures) {
                    Settled::Passed => {}
                    Settled::Answered(response) => return Forwarded::Answered(response),
                    Settled::Writing(guest) => {
                        return Forwarded::Writing(Writing { guest, at: Position { index, source_addr } });
                    }
                },
                Err(guest) => {
                    let guest = GuestCall::new(guest, observed);
                    return Forwarded::Waiting(Waiting { guest, at: Position { index, source_addr } });
                }
            }
            index += 1;
            if index == guests.len() {
                return Forwarded::Passed;
            }
            host = passed.pass_request();
        }
    }

    /// What the future of an exchange needs if a guest fails. The request's head is copied only for a policy that asks
    /// for it.
    #[inline]
    pub(crate) fn failures<B>(&self, request: Option<&Request<B>>) -> Failures {
        Failures::new(self.policy(), request)
    }
}

impl<N, O: ChainObserver> Remaining<N, O> {
    /// Continues with what follows the guest that has waited.
    pub(super) fn settle(
        &mut self,
        requested: Requested,
        guest: O::Guest,
        Position { index, source_addr }: Position,
        passed: &mut PassedGuests<O::Guest>,
        failures: &Failures,
    ) -> Forwarded<O::Guest> {
        let Self { chain, observer, .. } = self;
        match passed.settle(requested, guest, chain.guests().len(), failures) {
            Settled::Passed => {}
            Settled::Answered(response) => return Forwarded::Answered(response),
            Settled::Writing(guest) => {
                return Forwarded::Writing(Writing { guest, at: Position { index, source_addr } });
            }
        }
        let index = index + 1;
        if index == chain.guests().len() {
            return Forwarded::Passed;
        }
        chain.forward(index, passed.pass_request(), source_addr, observer, passed, failures)
    }
}
