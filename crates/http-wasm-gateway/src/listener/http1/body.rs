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
    /// The task that runs the connection, if it waits for the reader or receives for it.
    connection: Option<Waker>,
    /// Whether the connection was closed while a frame hadn't been read.
    closed: bool,
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
    let state = State { slot: Slot::Unread, reader: None, connection: None, closed: false };
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
        let wants = match state.slot {
            Slot::Dropped => return Poll::Ready(Wants::Nothing),
            Slot::Wanted => Poll::Ready(Wants::Frame),
            Slot::Unread | Slot::Frame { .. } | Slot::Ended | Slot::Failed(_) => Poll::Pending,
        };
        // While the connection receives, the reader may be dropped.
        register(&mut state.connection, cx);
        wants
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
        let mut state = self.0.state();
        match state.slot {
            Slot::Frame { last: false, .. } => state.closed = true,
            Slot::Unread | Slot::Wanted => {
                drop(state);
                self.fail(closed_early());
            }
            Slot::Frame { last: true, .. } | Slot::Ended | Slot::Failed(_) | Slot::Dropped => {}
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
        let was_wanted = matches!(state.slot, Slot::Wanted);
        let polled = match std::mem::replace(&mut state.slot, Slot::Wanted) {
            Slot::Unread | Slot::Wanted => {
                register(&mut state.reader, cx);
                Poll::Pending
            }
            Slot::Frame { frame, last } => {
                if state.closed {
                    state.slot = Slot::Failed(closed_early());
                }
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
        let wakes = |connection: &mut Waker| !was_wanted && !connection.will_wake(cx.waker());
        let connection = state.connection.take_if(wakes);
        drop(state);
        if let Some(connection) = connection {
            connection.wake();
        }
        polled
    }
}

fn closed_early() -> BoxError {
    "the connection was closed before the end of the body".into()
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use http_body::{Body as _, Frame};

    use super::{RequestBody, Wants, arriving};
    use crate::testing::task;

    fn frame() -> Frame<Bytes> {
        Frame::data(Bytes::from_static(b"abc"))
    }

    /// What the body yields: the length of a frame, an error, or its end.
    fn read(body: &mut RequestBody, task: &Waker) -> Poll<Option<Result<usize, ()>>> {
        let polled = Pin::new(body).poll_frame(&mut Context::from_waker(task));
        polled
            .map(|frame| frame.map(|frame| frame.map(|frame| frame.data_ref().unwrap().len()).map_err(drop)))
    }

    #[test]
    fn the_connection_and_a_reader_in_another_task_wake_each_other() {
        let ((connection, connection_woken), (reader, reader_woken)) = (task(), task());
        let cx = &mut Context::from_waker(&connection);
        let (sender, mut body) = arriving(None);
        assert!(sender.poll_wants(cx).is_pending());
        assert!(read(&mut body, &reader).is_pending());
        assert_eq!(connection_woken(), 1);
        for received in 1..4 {
            assert_eq!(sender.poll_wants(cx), Poll::Ready(Wants::Frame));
            sender.send(frame(), false, cx);
            assert_eq!(reader_woken(), received);
            assert!(sender.poll_wants(cx).is_pending());
            assert_eq!(read(&mut body, &reader), Poll::Ready(Some(Ok(3))));
            assert!(read(&mut body, &reader).is_pending());
            assert_eq!(connection_woken(), 1 + received);
        }
    }

    #[test]
    fn a_connection_that_receives_is_woken_when_the_reader_is_dropped() {
        let ((connection, connection_woken), (reader, _)) = (task(), task());
        let cx = &mut Context::from_waker(&connection);
        let (sender, mut body) = arriving(Some(100));
        assert!(read(&mut body, &reader).is_pending());
        assert_eq!(sender.poll_wants(cx), Poll::Ready(Wants::Frame));
        assert!(read(&mut body, &reader).is_pending());
        assert_eq!(connection_woken(), 0, "it knows already");
        drop(body);
        assert_eq!(connection_woken(), 1);
        assert_eq!(sender.poll_wants(cx), Poll::Ready(Wants::Nothing));
    }

    #[test]
    fn a_body_whose_connection_is_closed_fails_after_what_was_received() {
        let (connection, (reader, reader_woken)) = (task().0, task());
        let cx = &mut Context::from_waker(&connection);
        let (sender, mut body) = arriving(None);
        assert!(read(&mut body, &reader).is_pending());
        sender.send(frame(), false, cx);
        drop(sender);
        assert_eq!(read(&mut body, &reader), Poll::Ready(Some(Ok(3))));
        assert_eq!(read(&mut body, &reader), Poll::Ready(Some(Err(()))));
        assert_eq!(read(&mut body, &reader), Poll::Ready(None));

        let (sender, mut body) = arriving(None);
        assert!(read(&mut body, &reader).is_pending());
        drop(sender);
        assert_eq!(reader_woken(), 2);
        assert_eq!(read(&mut body, &reader), Poll::Ready(Some(Err(()))));
    }
}
