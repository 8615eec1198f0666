//! A message's body on its way from the guests to Envoy.

use std::future::poll_fn;
use std::mem::replace;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http_wasm_host::{BodyKind, BoxError, Frame, InMemoryHost, LocalHost as _, Message};

use crate::compute::{CallHandle, begin_slice, has_overrun};
use crate::exchange::Exchange;
use crate::process::process;
use crate::wake::StreamWaker;

/// A body produced by guests. Guests that stream are still writing it: they run while it is polled.
pub(crate) struct Outbound {
    kind: BodyKind,
    place: Place,
    /// The exchange of guests that write a request: they don't run when its body is polled.
    writing: Option<Rc<Exchange>>,
    /// Whether the guests have something to do, but others on this worker are to get their turn first.
    is_busy: bool,
}

/// How many times guests that write a request for each other are polled at once.
const TURNS: usize = 64;

enum Place {
    Here(Box<InMemoryHost>),
    /// The body is on a thread for long computations until there is a frame.
    Elsewhere(CallHandle<(Box<InMemoryHost>, Next)>),
    /// The body is being moved, or a call has panicked.
    Between,
}

type Next = Option<Result<Frame, BoxError>>;

impl Outbound {
    /// A body for Envoy, or for a host that holds it. `writing` is the exchange of guests that write a request.
    pub(crate) fn new(kind: BodyKind, body: Message, writing: Option<Rc<Exchange>>) -> Self {
        let mut host = Box::new(InMemoryHost::new("", ""));
        match kind {
            BodyKind::Request => host.request = body,
            BodyKind::Response => host.response = body,
        }
        Self { kind, place: Place::Here(host), writing, is_busy: false }
    }

    /// Returns the next frame, and runs the guests that are writing it, which `waker` wakes.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>, waker: &StreamWaker) -> Poll<Next> {
        self.is_busy = false;
        let Some(writing) = self.writing.clone() else { return self.poll_frame(cx) };
        for _ in 0..TURNS {
            if let frame @ Poll::Ready(_) = self.poll_frame(cx) {
                return frame;
            }
            // This has told the guest to write more. What else has woken it is polled now too.
            waker.take();
            let _none_left = writing.poll_writers(cx);
            if let frame @ Poll::Ready(_) = self.poll_frame(cx) {
                return frame;
            }
            if !waker.take() {
                return Poll::Pending;
            }
        }
        self.is_busy = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns the next frame. A guest that is writing a response runs on this thread until it has used up a time
    /// slice.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Place::Here(host) = &mut self.place {
            begin_slice();
            let polled = host.poll_body(self.kind, cx);
            if polled.is_ready() || !has_overrun() {
                return polled;
            }
            self.leave();
        }
        let Place::Elsewhere(running) = &mut self.place else {
            return Poll::Ready(Some(Err("too many guest calls have been computing for a long time".into())));
        };
        let Some((host, next)) = ready!(Pin::new(running).poll(cx)) else {
            self.place = Place::Between;
            return Poll::Ready(Some(Err("a guest call panicked".into())));
        };
        self.place = Place::Here(host);
        Poll::Ready(next)
    }

    /// Whether the guests that write the body run on this thread.
    pub(crate) fn is_here(&self) -> bool {
        let writers = self.writing.as_ref().is_none_or(|exchange| exchange.writers.are_here());
        writers && matches!(self.place, Place::Here(_))
    }

    /// Whether a body that isn't ready waits for more of the original.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_here() && !self.is_busy
    }

    /// Moves the body to the threads for long computations, unless they already have too many calls.
    fn leave(&mut self) {
        let Place::Here(mut host) = replace(&mut self.place, Place::Between) else { return };
        let kind = self.kind;
        let running = async move {
            let next = poll_fn(|cx| host.poll_body(kind, cx)).await;
            (host, next)
        };
        if let Some(running) = process().threads.run(running) {
            self.place = Place::Elsewhere(running);
        }
    }
}
