//! Reads the rest of a body that a guest has replaced, for the trailers after it.

use std::fmt;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{Fields, Frame};
use crate::error::BoxError;
use crate::runtime::{Background, Task};

/// Frames read in one go, so that a body that has arrived completely doesn't occupy its thread.
const FRAMES_AT_ONCE: usize = 32;

/// Reads and discards the rest of a replaced body to get its trailers, within limits on bytes and time. A host gets it
/// as [`Rest::Discarded`](crate::Rest::Discarded).
pub struct Discard {
    bytes_left: usize,
    limit: usize,
    time: Duration,
    background: Background,
    /// Starts with the first wait.
    timeout: Option<Task>,
}

impl Discard {
    pub(crate) fn new(background: Background, bytes: usize, time: Duration) -> Self {
        Self { bytes_left: bytes, limit: bytes, time, background, timeout: None }
    }

    /// Returns the trailers of the replaced body, or `None` if it has none. `next` polls that body for its next frame.
    ///
    /// # Errors
    /// If the body ends prematurely, has more bytes than the guest's [`replay_bytes`](crate::Limits::replay_bytes), or
    /// takes longer than its [`total`](crate::Limits::total).
    pub fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame, BoxError>>>,
    ) -> Poll<Result<Option<Fields>, BoxError>> {
        for _ in 0..FRAMES_AT_ONCE {
            let Poll::Ready(frame) = next(cx) else {
                let timeout = self.timeout.get_or_insert_with(|| self.background.sleep(self.time));
                ready!(timeout.as_mut().poll(cx));
                let time = self.time;
                return Poll::Ready(Err(format!("{REPLACED} has not ended after {time:?}").into()));
            };
            match frame.transpose()? {
                None => return Poll::Ready(Ok(None)),
                Some(Frame::Trailers(fields)) => return Poll::Ready(Ok(Some(fields))),
                // Empty frames count too: a peer may send any number of them.
                Some(Frame::Data(data)) => match self.bytes_left.checked_sub(data.len().max(1)) {
                    Some(left) => self.bytes_left = left,
                    None => {
                        let limit = self.limit;
                        return Poll::Ready(Err(format!("{REPLACED} is larger than {limit} bytes").into()));
                    }
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

const REPLACED: &str = "a body that a guest replaced and whose trailers must be sent";

impl fmt::Debug for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discard").field("bytes_left", &self.bytes_left).finish_non_exhaustive()
    }
}
