//! A body for the in-memory host that arrives in pieces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;

use crate::message::{Chunks, Fields};

/// The sending end of a body that arrives in pieces.
///
/// ```
/// use http_wasm_host::InMemoryHost;
///
/// let mut host = InMemoryHost::new("POST", "/upload");
/// let feed = host.request.feed_body();
/// feed.push("first, ");
/// feed.push("second");
/// assert_eq!(feed.unread(), 13);
/// // Until this call, a guest that reads to the end waits.
/// feed.finish(None);
/// assert_eq!(host.request.take_body().0, b"first, second");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Feed(Arc<Mutex<FeedState>>);

#[derive(Debug, Default)]
pub(super) struct FeedState {
    pub(super) chunks: Chunks,
    pub(super) trailers: Option<Fields>,
    pub(super) ended: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Feed {
    /// Appends bytes to the body, and wakes the guest if it waits for them.
    pub fn push(&self, data: impl Into<Bytes>) {
        let mut fed = self.lock();
        fed.chunks.push(data.into());
        fed.wake();
    }

    /// Returns how many bytes haven't been read yet.
    pub fn unread(&self) -> usize {
        self.lock().chunks.len()
    }

    /// Wakes `writer` once, when a reader finds nothing to read. This is for back-pressure.
    pub fn wake_when_empty(&self, writer: Waker) {
        let mut fed = self.lock();
        if fed.chunks.is_empty() {
            drop(fed);
            return writer.wake();
        }
        fed.writer = Some(writer);
    }

    /// Ends the body, with these trailers if there are any, and wakes the guest if it waits for the end.
    pub fn finish(&self, trailers: Option<Fields>) {
        let mut fed = self.lock();
        fed.trailers = trailers;
        fed.ended = true;
        fed.wake();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FeedState {
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.chunks.is_empty() && self.trailers.is_none()
    }

    /// The number of bytes still to come, if nothing comes after them.
    pub(super) fn len(&self) -> Option<usize> {
        (self.ended && self.trailers.is_none()).then(|| self.chunks.len())
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
