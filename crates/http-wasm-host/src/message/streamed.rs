//! Bodies that are sent while a guest writes them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{Fields, Frame};
use crate::error::BoxError;

/// A body that a guest writes while it is sent. A host gets it as [`Rest::Streamed`](crate::Rest::Streamed).
///
/// The guest runs while this is polled, and is suspended in each write until the receiver polls for more. So no more
/// than one piece is ever held, and a slow receiver slows the guest down. Dropping it abandons the guest's call.
pub struct Streamed {
    shared: Arc<Shared>,
    source: Option<Box<dyn Source>>,
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
    /// Until the receiver has it.
    source: Option<Box<dyn Source>>,
    /// The receiver is gone.
    is_closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both ends of a body.
pub(crate) fn streamed() -> (StreamWriter, Streamed) {
    let shared = Arc::<Shared>::default();
    (StreamWriter(shared.clone()), Streamed { shared, source: None, has_ended: false })
}

impl StreamWriter {
    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().is_closed
    }

    /// Whether all that was written has been taken.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.lock().piece.is_none()
    }

    /// Writes the next piece. The one before has been taken.
    pub(crate) fn write(&self, piece: Bytes) {
        self.0.lock().piece = Some(piece);
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
}

impl Streamed {
    /// Returns the next frame of the body. It must not be called again after the end.
    ///
    /// # Errors
    /// If the guest fails. The message must then be broken off: what was sent isn't the whole body.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BoxError>>> {
        if let Some(piece) = self.take_piece() {
            return Poll::Ready(Some(Ok(Frame::Data(piece))));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        if self.source.is_none() {
            self.source = self.shared.lock().source.take();
        }
        let Some(source) = &mut self.source else {
            return Poll::Ready(Some(Err("the guest that writes this body is not running".into())));
        };
        let polled = source.poll_end(cx);
        if let Some(piece) = self.take_piece() {
            return Poll::Ready(Some(Ok(Frame::Data(piece))));
        }
        let ended = ready!(polled);
        (self.has_ended, self.source) = (true, None);
        Poll::Ready(ended.map(|trailers| trailers.map(Frame::Trailers)).transpose())
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
        let unused = state.source.take();
        drop(state);
        drop(unused);
    }
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}
