//! Guests that write the request while it is sent.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http_wasm_host::{Error, Outcome, RequestStream};

use crate::compute::{begin_slice, has_overrun, until_it_waits};
use crate::failure::Failure;
use crate::live::Host;
use crate::placement::Placement;
use crate::process::SharedGuest;

/// The guests that are writing the request while it is sent, outermost first.
#[derive(Default)]
pub(crate) struct Writers {
    list: RefCell<Vec<Writer>>,
    has_response: Cell<bool>,
}

/// A guest that is writing the request.
struct Writer {
    guest: Arc<SharedGuest>,
    /// Its place in the chain.
    index: usize,
    started: Instant,
    /// On a thread, it runs until it waits or has decided.
    placement: Placement<RequestStream<Host>, (RequestStream<Host>, Option<Decision>)>,
}

type Decision = Result<Outcome<Host>, Error>;

/// A guest that has finished writing the request.
pub(crate) struct FinishedWriter {
    pub(crate) guest: Arc<SharedGuest>,
    pub(crate) index: usize,
    pub(crate) started: Instant,
    pub(crate) decision: Result<Outcome<Host>, Failure>,
}

impl Writers {
    /// Adds a guest that has begun to write. It is behind all others in the chain.
    pub(crate) fn add(
        &self,
        guest: Arc<SharedGuest>,
        index: usize,
        started: Instant,
        stream: RequestStream<Host>,
    ) {
        self.list.borrow_mut().push(Writer { guest, index, started, placement: Placement::OnWorker(stream) });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// Whether all of them are on this thread.
    pub(crate) fn are_on_worker(&self) -> bool {
        self.list.borrow().iter().all(|writer| writer.placement.is_on_worker())
    }

    /// Tells the innermost guest that the upstream has responded, when it is next polled.
    pub(crate) fn response_arrived(&self) {
        self.has_response.set(true);
    }

    /// Drops the guests from this place in the chain on. Their calls end in the background.
    pub(crate) fn drop_from(&self, index: usize) {
        loop {
            let last = self.list.borrow_mut().pop_if(|writer| writer.index >= index);
            if last.is_none() {
                return;
            }
        }
    }

    /// Runs the guests. Returns the next one that has finished, `None` if there are no others.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<FinishedWriter>> {
        let mut list = self.list.borrow_mut();
        let count = list.len();
        for at in 0..count {
            let writer = &mut list[at];
            // The response waits for the innermost one first.
            let has_response = self.has_response.get() && at + 1 == count;
            if let Poll::Ready(decision) = writer.poll(has_response, cx) {
                let Writer { guest, index, started, .. } = list.remove(at);
                return Poll::Ready(Some(FinishedWriter { guest, index, started, decision }));
            }
        }
        if count == 0 { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl Writer {
    fn poll(&mut self, has_response: bool, cx: &mut Context<'_>) -> Poll<Result<Outcome<Host>, Failure>> {
        loop {
            match &mut self.placement {
                Placement::OnWorker(stream) => {
                    if has_response {
                        stream.on_response();
                    }
                    begin_slice();
                    if let Poll::Ready(decision) = Pin::new(stream).poll(cx) {
                        self.placement = Placement::Taken;
                        return Poll::Ready(decision.map_err(Failure::Guest));
                    }
                    if !has_overrun() {
                        return Poll::Pending;
                    }
                    self.placement.move_to_thread(|mut stream| async move {
                        let decision = until_it_waits(|cx| Pin::new(&mut stream).poll(cx)).await;
                        (stream, decision)
                    });
                }
                Placement::OnThread(running) => match ready!(Pin::new(running).poll(cx)) {
                    Some((stream, None)) => self.placement = Placement::OnWorker(stream),
                    Some((_ended, Some(decision))) => {
                        self.placement = Placement::Taken;
                        return Poll::Ready(decision.map_err(Failure::Guest));
                    }
                    None => return Poll::Ready(Err(Failure::Panicked)),
                },
                Placement::Taken => return Poll::Ready(Err(Failure::Busy)),
            }
        }
    }
}
