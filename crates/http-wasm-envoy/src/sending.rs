//! A message's body that is sent to Envoy, and the guests that are writing it.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_wasm_host::{BodyKind, Message};

use crate::exchange::Exchange;
use crate::outbound::{Next, Outbound};
use crate::wake::StreamWaker;

/// A body that is sent to Envoy. Guests that stream are still writing it: they run while it is polled.
pub(crate) struct SendingBody {
    body: Outbound,
    /// The exchange of guests that write a request: they don't run when its body is polled.
    writing: Option<Rc<Exchange>>,
    /// Whether the guests have something to do, but others on this worker are to get their turn first.
    is_busy: bool,
}

/// How long a guest that streams writes in one hook before the worker's other streams get their turn.
pub(crate) const WRITES_AT_ONCE: Duration = Duration::from_millis(4);
/// How many times guests that write a request for each other are polled at once.
const TURNS: usize = 64;

impl SendingBody {
    /// `writing` is the exchange of guests that write a request.
    pub(crate) fn new(kind: BodyKind, body: Message, writing: Option<Rc<Exchange>>) -> Self {
        Self { body: Outbound::new(kind, body), writing, is_busy: false }
    }

    /// Returns the next frame, and runs the guests that are writing it, which `waker` wakes.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>, waker: &StreamWaker) -> Poll<Next> {
        self.is_busy = false;
        let Some(writing) = &self.writing else { return self.body.poll_frame(cx) };
        let began = Instant::now();
        for _ in 0..TURNS {
            if let frame @ Poll::Ready(_) = self.body.poll_frame(cx) {
                return frame;
            }
            // This has told the guest to write more. What else has woken it is polled now too.
            waker.take();
            let _none_left = writing.poll_writers(cx);
            if let frame @ Poll::Ready(_) = self.body.poll_frame(cx) {
                return frame;
            }
            if !waker.take() {
                return Poll::Pending;
            }
            if began.elapsed() >= WRITES_AT_ONCE {
                break;
            }
        }
        self.is_busy = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the guests that write the body run on the worker's thread.
    pub(crate) fn is_on_worker(&self) -> bool {
        let writers = self.writing.as_ref().is_none_or(|exchange| exchange.writers.are_on_worker());
        writers && self.body.is_on_worker()
    }

    /// Whether a body that isn't ready waits for more of the original.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_on_worker() && !self.is_busy
    }
}
