//! Request content of one connection that has been received but not read yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep};

use crate::unread_budget::UnreadBudget;

/// The most streams that are waiting to be accepted. Beyond this, all of them are considered refused.
const MAX_PENDING: usize = 1_024;

/// How long a connection may be paused while none of its content is read.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Other connections may free memory too, which doesn't wake this one.
const RECHECK: Duration = Duration::from_millis(50);

/// The part of the budget that one connection holds.
#[derive(Debug)]
pub(super) struct Unread {
    budget: Arc<UnreadBudget>,
    streams: Mutex<HashMap<u32, Stream>>,
    /// The sum over all streams, written while `streams` is locked.
    held: AtomicU64,
    /// How often content has been read or dropped.
    reads: AtomicU64,
    paused: AtomicBool,
    connection: AtomicWaker,
}

#[derive(Debug, Default)]
struct Stream {
    held: u64,
    accepted: bool,
}

impl Unread {
    pub(super) fn new(budget: Arc<UnreadBudget>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            streams: Mutex::default(),
            held: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            connection: AtomicWaker::new(),
        })
    }

    /// Records a request with content.
    pub(super) fn open(&self, stream: u32) {
        let mut streams = self.streams();
        if streams.len() >= MAX_PENDING {
            self.forget_pending(&mut streams, |_| true);
        }
        streams.entry(stream).or_default();
    }

    /// Records received content of a stream. `h2` discards the content of streams that have ended.
    pub(super) fn receive(&self, stream: u32, bytes: u64) {
        let mut streams = self.streams();
        if let Some(stream) = streams.get_mut(&stream) {
            stream.held += bytes;
            self.add(bytes);
        }
    }

    /// Records that the request of a stream was accepted. Earlier streams that weren't accepted have been refused,
    /// because `h2` returns them in order.
    pub(super) fn accept(self: &Arc<Self>, stream: u32) -> UnreadStream {
        let mut streams = self.streams();
        self.forget_pending(&mut streams, |id| id < stream);
        streams.entry(stream).or_default().accepted = true;
        UnreadStream { id: stream, unread: self.clone() }
    }

    fn forget_pending(&self, streams: &mut HashMap<u32, Stream>, which: impl Fn(u32) -> bool) {
        let refused = streams.extract_if(|&id, stream| !stream.accepted && which(id));
        self.remove(refused.map(|(_, stream)| stream.held).sum());
    }

    fn add(&self, bytes: u64) {
        let before = self.held.load(Ordering::Relaxed);
        self.held.store(before + bytes, Ordering::Relaxed);
        self.budget.change(before, before + bytes);
    }

    fn remove(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let before = self.held.load(Ordering::Relaxed);
        self.held.store(before - bytes, Ordering::Relaxed);
        self.budget.change(before, before - bytes);
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.paused.swap(false, Ordering::AcqRel) {
            self.connection.wake();
        }
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u32, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.budget.change(self.held.load(Ordering::Relaxed), 0);
    }
}

/// The part that one stream holds. It is released on drop, because `h2` drops content that can't be read any more.
#[derive(Debug)]
pub(super) struct UnreadStream {
    id: u32,
    unread: Arc<Unread>,
}

impl UnreadStream {
    /// Records that this many bytes were read.
    pub(super) fn read(&self, bytes: usize) {
        let mut streams = self.unread.streams();
        if let Some(stream) = streams.get_mut(&self.id) {
            let bytes = stream.held.min(bytes as u64);
            stream.held -= bytes;
            self.unread.remove(bytes);
        }
    }
}

impl Drop for UnreadStream {
    fn drop(&mut self) {
        let mut streams = self.unread.streams();
        if let Some(stream) = streams.remove(&self.id) {
            self.unread.remove(stream.held);
        }
    }
}

/// Decides when a connection may be read from.
#[derive(Debug, Default)]
pub(super) struct Pause {
    timer: Option<std::pin::Pin<Box<Sleep>>>,
    /// When reading stopped, and how many reads there had been before.
    stalled: Option<(Instant, u64)>,
}

/// The content that a connection holds beyond its share isn't being read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stalled;

impl Pause {
    /// Ready when the connection may be read from.
    pub(super) fn poll(&mut self, unread: &Unread, cx: &mut Context<'_>) -> Poll<Result<(), Stalled>> {
        loop {
            if unread.budget.allows(unread.held.load(Ordering::Relaxed)) {
                if self.stalled.is_some() {
                    *self = Self::default();
                }
                return Poll::Ready(Ok(()));
            }
            let reads = unread.reads.load(Ordering::Relaxed);
            match self.stalled {
                Some((since, before)) if before == reads => {
                    if since.elapsed() >= STALL_TIMEOUT {
                        return Poll::Ready(Err(Stalled));
                    }
                }
                _ => self.stalled = Some((Instant::now(), reads)),
            }
            self.wait_for_reads(unread, cx.waker());
            if unread.reads.load(Ordering::Acquire) != reads {
                continue;
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(RECHECK)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            timer.as_mut().reset(Instant::now() + RECHECK);
        }
    }

    fn wait_for_reads(&self, unread: &Unread, waker: &Waker) {
        unread.connection.register(waker);
        unread.paused.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::{Pause, STALL_TIMEOUT, Stalled, Unread};
    use crate::unread_budget::UnreadBudget;

    const SHARE: u64 = 128 * 1024;

    #[tokio::test(start_paused = true)]
    async fn a_connection_over_its_share_pauses_until_its_content_is_read() {
        let budget = Arc::new(UnreadBudget::new(SHARE));
        let (unread, mut pause) = (Unread::new(budget.clone()), Pause::default());
        unread.open(1);
        let stream = unread.accept(1);
        unread.receive(1, SHARE - 1);
        assert_eq!(poll_fn(|cx| pause.poll(&unread, cx)).now_or_never(), Some(Ok(())));
        unread.receive(1, 1);
        assert_eq!(poll_fn(|cx| pause.poll(&unread, cx)).now_or_never(), None);
        let reader = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            stream.read(10);
            stream
        });
        assert_eq!(poll_fn(|cx| pause.poll(&unread, cx)).await, Ok(()));
        drop(reader.await.unwrap());
        assert_eq!(budget.used(), 0, "what was not read is given back with the stream");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_content_is_never_read_is_closed() {
        let unread = Unread::new(Arc::new(UnreadBudget::new(SHARE)));
        unread.open(1);
        let stream = unread.accept(1);
        unread.receive(1, 2 * SHARE);
        let began = tokio::time::Instant::now();
        let mut pause = Pause::default();
        assert_eq!(poll_fn(|cx| pause.poll(&unread, cx)).await, Err(Stalled));
        assert!(began.elapsed() >= STALL_TIMEOUT);
        drop(stream);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_connection_resumes_once_others_hold_less() {
        let budget = Arc::new(UnreadBudget::new(SHARE));
        let (one, other) = (Unread::new(budget.clone()), Unread::new(budget));
        for unread in [&one, &other] {
            unread.open(1);
            unread.receive(1, SHARE * 3 / 4);
        }
        let mut pause = Pause::default();
        assert_eq!(poll_fn(|cx| pause.poll(&one, cx)).now_or_never(), None);
        drop(other);
        assert_eq!(poll_fn(|cx| pause.poll(&one, cx)).await, Ok(()));
    }

    #[test]
    fn content_of_refused_and_finished_streams_is_not_counted() {
        let budget = Arc::new(UnreadBudget::new(SHARE));
        let unread = Unread::new(budget.clone());
        for stream in [1, 3, 5] {
            unread.open(stream);
            unread.receive(stream, 100);
        }
        let (first, third) = (unread.accept(1), unread.accept(5));
        assert_eq!(budget.used(), 200, "the second one is refused");
        drop(first);
        unread.receive(1, 50);
        unread.receive(3, 50);
        assert_eq!(budget.used(), 100);
        third.read(1_000);
        assert_eq!(budget.used(), 0);
    }
}
