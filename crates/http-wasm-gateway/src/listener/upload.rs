//! Handles a request body that hasn't been read to its end when the response is available.
//!
//! On an HTTP/1.1 connection, the next request follows the body. If the rest is short, it is read and discarded, and
//! the connection continues. If the rest is long, or may never arrive, the response has `Connection: close` and the
//! connection lingers (RFC 9112 section 9.6).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::activity::InFlight;
use crate::exchange::BodyVerdict;

/// How much of a body is read and discarded so that the connection can continue.
const DISCARD_BYTES: u64 = 256 * 1024;

/// How long reading and discarding may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a response is delayed to find out whether a body of unknown length is about to end. A response without
/// `Connection: close` promises that the body ends soon.
const END_TIMEOUT: Duration = Duration::from_millis(50);

/// A request body, as the listener sees it. Shared with the handlers' [`IncomingBody`](super::body::IncomingBody).
#[derive(Debug)]
pub(super) struct Upload<B> {
    /// Whether the client waits for `100 Continue`.
    expects_continue: bool,
    /// Whether a handler has polled the body.
    requested: AtomicBool,
    answered: AtomicBool,
    failure: AtomicU16,
    frames: AtomicU64,
    /// How many bytes the body may have.
    limit: AtomicU64,
    is_lifted: AtomicBool,
    rest: Mutex<Rest<B>>,
    returned: Notify,
}

#[derive(Debug)]
enum Rest<B> {
    /// A handler holds the body.
    Held,
    /// The handlers have dropped it.
    Unread(B),
    /// It has ended, or won't be read further.
    Done,
}

/// What a response means for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    KeepAlive,
    Close,
}

impl<B> Upload<B> {
    /// `limit` is the maximum number of bytes in the body.
    pub(super) fn new(expects_continue: bool, limit: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            expects_continue,
            requested: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            failure: AtomicU16::new(0),
            frames: AtomicU64::new(0),
            limit: AtomicU64::new(limit.unwrap_or(u64::MAX)),
            is_lifted: AtomicBool::new(false),
            rest: Mutex::new(Rest::Held),
            returned: Notify::new(),
        })
    }

    /// Called when the response head is available.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Called when the body has exceeded a limit or ended prematurely.
    pub(super) fn set_failure(&self, status: StatusCode) {
        self.failure.store(status.as_u16(), Ordering::Relaxed);
    }

    /// The status to respond with because the body has failed, if it has.
    pub(super) fn failure(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.failure.load(Ordering::Relaxed)).ok()
    }

    /// The maximum number of bytes in the body.
    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Called when a handler polls the body.
    pub(super) fn requested(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Called when a handler has received more of the body.
    pub(super) fn received(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// Called when the handlers have finished with the body. `rest` is set if it hasn't ended.
    pub(super) fn return_body(&self, rest: Option<B>) {
        self.set(rest.map_or(Rest::Done, Rest::Unread));
        self.returned.notify_one();
    }

    fn set(&self, rest: Rest<B>) {
        let before = std::mem::replace(&mut *self.rest.lock().unwrap_or_else(PoisonError::into_inner), rest);
        // This must not happen while the lock is held.
        drop(before);
    }

    /// Takes the rest. The body is then done.
    fn take(&self) -> Option<Rest<B>> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        match *rest {
            Rest::Held => None,
            _ => Some(std::mem::replace(&mut *rest, Rest::Done)),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(*self.rest.lock().unwrap_or_else(PoisonError::into_inner), Rest::Done)
    }

    /// Drops the rest, or waits until a handler has dropped what it holds. Fails if a handler neither reads nor drops
    /// it within `stalled`.
    async fn returned(&self, stalled: Duration) -> Result<Option<B>, Stalled> {
        loop {
            match self.take() {
                Some(Rest::Unread(body)) => return Ok(Some(body)),
                Some(_) => return Ok(None),
                None => {}
            }
            let frames = self.frames.load(Ordering::Relaxed);
            if timeout(stalled, self.returned.notified()).await.is_err()
                && frames == self.frames.load(Ordering::Relaxed)
            {
                return Err(Stalled);
            }
        }
    }
}

/// A handler holds a body without reading it.
#[derive(Debug)]
struct Stalled;

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// Whether the HTTP/1.1 connection can continue after this request. Called just before the response head is sent.
    pub(super) async fn persistence(&self) -> Persistence {
        let mut body = match self.take() {
            Some(Rest::Unread(body)) => body,
            // A body that a handler still reads is handled when the response has ended.
            _ => return Persistence::KeepAlive,
        };
        if self.expects_continue && !self.requested.load(Ordering::Relaxed) {
            // The client may or may not send the body (RFC 9110 section 10.1.1), so it is unclear what follows.
            return Persistence::Close;
        }
        match body.size_hint().exact() {
            Some(0..=DISCARD_BYTES) => {
                self.set(Rest::Unread(body));
                Persistence::KeepAlive
            }
            Some(_) => Persistence::Close,
            None => match timeout(END_TIMEOUT, discard(&mut body)).await {
                Ok(Ok(())) => Persistence::KeepAlive,
                _ => Persistence::Close,
            },
        }
    }

    /// Whether a handler holds the body for that long without reading from it. Otherwise, this completes as soon as no
    /// handler holds it and what is left of it has been dropped, or discarded if its limit was lifted.
    pub(super) async fn stalls(&self, stalled: Duration) -> bool {
        match self.returned(stalled).await {
            // Envoy ends its streams itself. If they were reset here, what it is sending at that moment would count as
            // an error of its connection.
            Ok(Some(mut body)) if self.is_lifted.load(Ordering::Relaxed) => {
                drop(timeout(DISCARD_TIMEOUT, discard(&mut body)).await);
                false
            }
            Ok(_) => false,
            Err(Stalled) => true,
        }
    }

    /// Called when the response has been handed over completely. Makes the connection continue with the next request,
    /// or end.
    pub(super) fn finish(self: Arc<Self>, in_flight: InFlight, stalled: Duration) {
        if self.is_done() {
            return;
        }
        // Without a runtime, the connection ends too.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            match self.returned(stalled).await {
                // A body that doesn't end closes the connection, because the connection notices that it is dropped.
                Ok(Some(mut body)) => drop(timeout(DISCARD_TIMEOUT, discard(&mut body)).await),
                Ok(None) => {}
                Err(Stalled) => in_flight.abandon(),
            }
        });
    }
}

/// Reads and discards a body to its end. Fails if there is too much, or the body ends prematurely.
async fn discard<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Result<(), ()> {
    let mut discarded = 0;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| ())?;
        discarded += frame.data_ref().map_or(0, |data| data.len() as u64);
        if discarded > DISCARD_BYTES {
            return Err(());
        }
    }
    Ok(())
}

impl<B: Send> BodyVerdict for Upload<B> {
    fn settle(&self) -> Option<StatusCode> {
        self.answered();
        self.failure()
    }

    fn lift_limit(&self) -> Option<u64> {
        self.is_lifted.store(true, Ordering::Relaxed);
        Some(self.limit.swap(u64::MAX, Ordering::Relaxed)).filter(|&limit| limit < u64::MAX)
    }
}
