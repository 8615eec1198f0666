//! Request bodies: the connection receives them, and handlers read them, usually in the same task.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::body::BoxError;
use crate::listener::request::Received;

/// A request's body, as its handlers read it.
#[derive(Debug)]
pub(in crate::listener) enum RequestBody {
    /// All of it arrived together with the head. Empty if there is none, or it has been read.
    Whole(Bytes),
    /// The rest arrives on the connection.
    Arriving(Reader),
}

/// The reading end of a body that arrives.
#[derive(Debug)]
pub(in crate::listener) struct Reader {
    shared: Arc<Shared>,
    /// How many bytes are left, if the length was declared.
    left: Option<u64>,
    ended: bool,
}

/// The receiving end of a body that arrives. If it is dropped before the body has ended, the body fails.
#[derive(Debug)]
pub(super) struct Sender(Arc<Shared>);

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    slot: Slot,
    /// The task that waits for a frame.
    reader: Option<Waker>,
    /// The task that runs the connection, if it waits for the reader.
    connection: Option<Waker>,
}

#[derive(Debug)]
enum Slot {
    /// Nothing has been read yet.
    Unread,
    /// Another frame is wanted.
    Wanted,
    Frame {
        frame: Frame<Bytes>,
        last: bool,
    },
    Ended,
    Failed(BoxError),
    /// The reader was dropped before the end.
    Dropped,
}

/// What a reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Frame,
    /// Nothing: it has been dropped.
    Nothing,
}

/// A body that arrives, and where to pass what is received of it. `length` is its length, if declared.
pub(super) fn arriving(length: Option<u64>) -> (Sender, RequestBody) {
    let state = State { slot: Slot::Unread, reader: None, connection: None };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (Sender(shared.clone()), RequestBody::Arriving(Reader { shared, left: length, ended: false }))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    /// Waits until the reader wants something.
    pub(super) fn poll_wants(&self, cx: &mut Context<'_>) -> Poll<Wants> {
        let mut state = self.0.state();
        match state.slot {
            Slot::Wanted => Poll::Ready(Wants::Frame),
            Slot::Dropped => Poll::Ready(Wants::Nothing),
            Slot::Unread | Slot::Frame { .. } | Slot::Ended | Slot::Failed(_) => {
                register(&mut state.connection, cx);
                Poll::Pending
            }
        }
    }

    /// Passes a frame to the reader, which must want one.
    pub(super) fn send(&self, frame: Frame<Bytes>, last: bool, cx: &mut Context<'_>) {
        self.set(Slot::Frame { frame, last }, Some(cx));
    }

    /// Ends the body.
    pub(super) fn end(&self, cx: &mut Context<'_>) {
        self.set(Slot::Ended, Some(cx));
    }

    /// Makes the body fail.
    pub(super) fn fail(&self, error: BoxError) {
        self.set(Slot::Failed(error), None);
    }

    /// Wakes the reader, unless it is in the current task: that polls it again.
    fn set(&self, slot: Slot, cx: Option<&mut Context<'_>>) {
        let mut state = self.0.state();
        if matches!(state.slot, Slot::Dropped) {
            return;
        }
        state.slot = slot;
        let reader = state.reader.take().filter(|reader| cx.is_none_or(|cx| !reader.will_wake(cx.waker())));
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let open = matches!(self.0.state().slot, Slot::Unread | Slot::Wanted);
        if open {
            self.fail("the connection was closed before the end of the body".into());
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut state = self.shared.state();
        let dropped = std::mem::replace(&mut state.slot, Slot::Dropped);
        let connection = state.connection.take();
        drop(state);
        drop(dropped);
        if let Some(connection) = connection {
            connection.wake();
        }
    }
}

impl Reader {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut state = self.shared.state();
        let polled = match std::mem::replace(&mut state.slot, Slot::Wanted) {
            Slot::Unread | Slot::Wanted => {
                register(&mut state.reader, cx);
                Poll::Pending
            }
            Slot::Frame { frame, last } => {
                self.ended = last;
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.left = self.left.map(|left| left.saturating_sub(bytes));
                Poll::Ready(Some(Ok(frame)))
            }
            Slot::Ended | Slot::Dropped => {
                self.ended = true;
                Poll::Ready(None)
            }
            Slot::Failed(error) => {
                self.ended = true;
                Poll::Ready(Some(Err(error)))
            }
        };
        // The next frame is received while this one is processed.
        let connection = state.connection.take().filter(|connection| !connection.will_wake(cx.waker()));
        drop(state);
        if let Some(connection) = connection {
            connection.wake();
        }
        polled
    }
}

/// Makes the current task the one that is woken.
fn register(waker: &mut Option<Waker>, cx: &mut Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

impl Received for RequestBody {
    fn into_whole(self) -> Result<Bytes, Self> {
        match self {
            Self::Whole(data) => Ok(data),
            Self::Arriving(_) => Err(self),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Whole(data) if data.is_empty() => Poll::Ready(None),
            Self::Whole(data) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(data))))),
            Self::Arriving(reader) => reader.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(data) => data.is_empty(),
            Self::Arriving(reader) => reader.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Self::Arriving(reader) if reader.ended => SizeHint::with_exact(0),
            Self::Arriving(reader) => reader.left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
