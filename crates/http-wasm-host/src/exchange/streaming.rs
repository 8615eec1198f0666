//! The state of messages that are sent while the guest writes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::abi::BodyKind;
use crate::bodies::Stream;
use crate::message::{Rest, StreamWriter};

/// Streaming in one exchange.
pub(super) struct Streaming<H> {
    /// `None` if the guest doesn't stream requests.
    request: Option<Side<H>>,
    response: Option<Side<H>>,
}

/// One of the two messages.
pub(super) struct Side<H> {
    pub(super) committed: Arc<Committed<H>>,
    /// Once the head is sent.
    pub(super) open: Option<Open>,
}

/// A message whose head is sent.
pub(super) struct Open {
    pub(super) writer: StreamWriter,
    /// How many bytes of the current write are taken.
    pub(super) taken: usize,
    /// What happens to the original's rest when the guest returns.
    pub(super) rest: Rest,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.writer.release();
    }
}

/// Where the message is left whose head is sent while the guest still runs.
pub(crate) struct Committed<H> {
    message: Mutex<Option<(H, StreamWriter)>>,
    is_committed: AtomicBool,
}

impl<H> Streaming<H> {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            request: stream.requests().then(Side::default),
            response: stream.responses().then(Side::default),
        }
    }

    /// The message of this kind, if the guest streams it.
    pub(super) fn side(&self, kind: BodyKind) -> Option<&Side<H>> {
        match kind {
            BodyKind::Request => self.request.as_ref(),
            BodyKind::Response => self.response.as_ref(),
        }
    }

    pub(super) fn side_mut(&mut self, kind: BodyKind) -> Option<&mut Side<H>> {
        match kind {
            BodyKind::Request => self.request.as_mut(),
            BodyKind::Response => self.response.as_mut(),
        }
    }
}

impl<H> Default for Side<H> {
    fn default() -> Self {
        let committed = Committed { message: Mutex::new(None), is_committed: AtomicBool::new(false) };
        Self { committed: Arc::new(committed), open: None }
    }
}

impl<H> Committed<H> {
    pub(super) fn set(&self, host: H, writer: StreamWriter) {
        self.is_committed.store(true, Ordering::Relaxed);
        *self.message.lock().unwrap_or_else(PoisonError::into_inner) = Some((host, writer));
    }

    /// The host with the message, and the guest's end of its body. There is one once.
    pub(crate) fn take(&self) -> Option<(H, StreamWriter)> {
        self.message.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn is_committed(&self) -> bool {
        self.is_committed.load(Ordering::Relaxed)
    }
}
