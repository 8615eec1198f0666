//! Bodies that are sent while a guest writes them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;

use super::body_budget::{Evictable, Reservation};
use super::{Fields, Frame};
use crate::error::BoxError;

/// A body that a guest writes while it is sent. A host gets it as [`Rest::Streamed`](crate::Rest::Streamed).
///
/// The guest is suspended in each write until the receiver polls for more. So no more than one piece is ever held, and
/// a slow receiver slows the guest down. A guest that writes a response runs while this is polled, and dropping this
/// abandons the guest's call. A guest that writes a request runs while its [`RequestStream`](crate::RequestStream) is
/// polled.
pub struct Streamed {
    shared: Arc<Shared>,
    /// Runs the guest, unless it is driven separately.
    source: Option<Box<dyn Source>>,
    is_driven_separately: bool,
    /// The end, if it has come together with a piece that goes first.
    end: Option<Result<Option<Fields>, BoxError>>,
    /// Whether the end was returned.
    is_over: bool,
    /// Whether the whole body has been returned.
    has_ended: bool,
}

/// What runs the guest.
pub(crate) trait Source: Send {
    /// Runs the guest until it has to wait, or has returned; then the trailers follow.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Fields>, BoxError>>;
}

/// The guest's end of a [`Streamed`] body.
#[derive(Clone)]
pub(crate) struct StreamWriter(Arc<Shared>);

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    /// Written, and not yet taken.
    piece: Option<Bytes>,
    /// Something was written, and the receiver hasn't asked for more since.
    awaits_demand: bool,
    /// The number of pieces written.
    pieces: u64,
    /// Until the receiver has it.
    source: Option<Box<dyn Source>>,
    /// What is written is discarded: the receiver is gone, or nothing more is sent to it.
    is_closed: bool,
    /// The end of a body whose guest is driven separately, until the receiver has seen it.
    end: Option<Result<Option<Fields>, BoxError>>,
    /// The receiver's task, if it waits for such a body.
    receiver: Option<Waker>,
    /// The task that runs the guest of such a body.
    guest: Option<Waker>,
    /// For one piece.
    memory: Reservation,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A receiver that doesn't read would keep the piece, and a guest that waits for it the memory. The guest's call fails
/// when it continues, so a body that lacks this piece never looks whole.
impl Evictable for Shared {
    fn evict(&self) {
        let mut state = self.lock();
        let held = (state.piece.take(), std::mem::take(&mut state.memory));
        drop(state);
        drop(held);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Both ends of a response's body: polling it runs the guest.
pub(crate) fn driven_by_receiver() -> (StreamWriter, Streamed) {
    ends(false)
}

/// Both ends of a request's body: the guest and the receiver are polled separately, by different tasks or by the same
/// one.
pub(crate) fn driven_separately() -> (StreamWriter, Streamed) {
    ends(true)
}

fn ends(is_driven_separately: bool) -> (StreamWriter, Streamed) {
    let shared = Arc::<Shared>::default();
    let writer = StreamWriter(shared.clone());
    let body =
        Streamed { shared, source: None, is_driven_separately, end: None, is_over: false, has_ended: false };
    (writer, body)
}

impl StreamWriter {
    /// Whether what is written is discarded.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().is_closed
    }

    /// Whether all that was written has been taken, and the receiver is ready for more.
    pub(crate) fn is_wanted(&self) -> bool {
        let state = self.0.lock();
        state.piece.is_none() && !state.awaits_demand
    }

    /// Writes the next piece, which [is wanted](Self::is_wanted).
    pub(crate) fn write(&self, piece: Bytes) {
        let mut state = self.0.lock();
        state.piece = Some(piece);
        state.awaits_demand = true;
        state.pieces += 1;
        wake(state, |state| &mut state.receiver);
    }

    /// Keeps the memory for one piece until it is released, or the request is evicted.
    pub(crate) fn hold(&self, memory: Reservation) {
        let account = memory.account().cloned();
        self.0.lock().memory = memory;
        if let Some(account) = account {
            let evictable: Arc<dyn Evictable> = self.0.clone();
            account.on_eviction(Arc::downgrade(&evictable));
            if account.check().is_err() {
                // It has been evicted already.
                self.0.evict();
            }
        }
    }

    /// Releases the memory, as the guest writes no more.
    pub(crate) fn release(&self) {
        let memory = std::mem::take(&mut self.0.lock().memory);
        drop(memory);
    }

    /// From now on the receiver runs the guest.
    pub(crate) fn drive_with(&self, source: Box<dyn Source>) {
        let mut state = self.0.lock();
        if !state.is_closed {
            state.source = Some(source);
            return;
        }
        // What it holds may come back here.
        drop(state);
        drop(source);
    }

    /// Wakes `guest` once the receiver is ready for more, or is gone.
    pub(crate) fn wake_guest(&self, guest: &Waker) {
        let mut state = self.0.lock();
        match &mut state.guest {
            Some(waker) => waker.clone_from(guest),
            None => state.guest = Some(guest.clone()),
        }
    }

    /// The number of pieces written, if the last one waits for the receiver.
    pub(crate) fn waits_since_piece(&self) -> Option<u64> {
        let state = self.0.lock();
        (state.awaits_demand && !state.is_closed).then_some(state.pieces)
    }

    /// Ends the body, unless it has been aborted.
    pub(crate) fn end(&self, end: Result<Option<Fields>, BoxError>) {
        let mut state = self.0.lock();
        if !state.is_closed {
            state.is_closed = true;
            state.end = Some(end);
        }
        wake(state, |state| &mut state.receiver);
    }

    /// Ends the body with an error. What was written last isn't sent any more.
    pub(crate) fn abort(&self, why: &'static str) {
        self.end(Err(why.into()));
        let unsent = self.0.lock().piece.take();
        drop(unsent);
    }
}

/// Wakes one of the tasks, after unlocking.
fn wake(mut state: MutexGuard<'_, State>, which: impl FnOnce(&mut State) -> &mut Option<Waker>) {
    let waker = which(&mut state).take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Streamed {
    /// Returns the next frame of the body. It must not be called again after the end.
    ///
    /// # Errors
    /// If the guest fails. The message must then be aborted, since the body isn't complete.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BoxError>>> {
        if let Some(piece) = self.take_piece() {
            return Poll::Ready(Some(Ok(Frame::Data(piece))));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        let polled = match self.end.take() {
            Some(end) => Poll::Ready(end),
            None if self.is_driven_separately => self.poll_driver(cx),
            None => self.run(cx),
        };
        if let Some(piece) = self.take_piece() {
            if let Poll::Ready(end) = polled {
                self.end = Some(end);
            }
            return Poll::Ready(Some(Ok(Frame::Data(piece))));
        }
        let end = ready!(polled);
        (self.is_over, self.has_ended, self.source) = (true, end.is_ok(), None);
        Poll::Ready(end.map(|trailers| trailers.map(Frame::Trailers)).transpose())
    }

    /// Runs the guest.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Fields>, BoxError>> {
        let mut state = self.shared.lock();
        state.awaits_demand = false;
        if self.source.is_none() {
            self.source = state.source.take();
        }
        drop(state);
        match &mut self.source {
            Some(source) => source.poll_end(cx),
            None => Poll::Ready(Err("the guest that writes this body is not running".into())),
        }
    }

    /// Asks the guest, which is driven separately, for the next piece.
    fn poll_driver(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Fields>, BoxError>> {
        let mut state = self.shared.lock();
        if let Some(end) = state.end.take() {
            return Poll::Ready(end);
        }
        if state.piece.is_some() {
            return Poll::Pending;
        }
        match &mut state.receiver {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.receiver = Some(cx.waker().clone()),
        }
        // A guest that waits for something else isn't woken: if one task polls both, each would keep waking the other.
        if std::mem::replace(&mut state.awaits_demand, false) {
            wake(state, |state| &mut state.guest);
        }
        Poll::Pending
    }

    /// Returns whether the whole body has been taken.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn take_piece(&self) -> Option<Bytes> {
        self.shared.lock().piece.take()
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let unused = (state.source.take(), state.piece.take());
        wake(state, |state| &mut state.guest);
        drop(unused);
    }
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}
