//! The queue of exchanges to write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::finished::Finished;

/// If this much is queued, it is written even if the last file is recent.
const FILE_BYTES: usize = 1024 * 1024;

/// The maximum amount that is queued. Further exchanges are dropped.
const MAX_BYTES: usize = 8 * FILE_BYTES;

/// The minimum time between files with less.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Collects exchanges for the thread that writes them, several per file.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    exchanges: Vec<Finished>,
    bytes: usize,
    /// Notified when everything that is queued now has been written.
    flushes: Vec<oneshot::Sender<()>>,
    is_closed: bool,
}

/// When a file is written.
#[derive(Debug, PartialEq)]
enum Due {
    Now,
    After(Duration),
    /// When an exchange is queued.
    WhenQueued,
}

/// The exchanges to write now.
pub(super) struct Batch {
    pub(super) exchanges: Vec<Finished>,
    flushes: Vec<oneshot::Sender<()>>,
    /// Whether this is the last batch.
    pub(super) is_last: bool,
}

impl Queue {
    /// Adds an exchange, or drops it if the queue is full.
    pub(super) fn add(&self, finished: Finished) {
        let size = finished.size();
        let mut waiting = self.lock();
        let is_first = waiting.exchanges.is_empty();
        if !is_first && waiting.bytes + size > MAX_BYTES {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_less = waiting.bytes < FILE_BYTES;
        waiting.exchanges.push(finished);
        waiting.bytes += size;
        let is_enough = was_less && waiting.bytes >= FILE_BYTES;
        drop(waiting);
        // Waking a thread is the most expensive part.
        if is_first || is_enough {
            self.changed.notify_one();
        }
    }

    /// The number of exchanges that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything that was added before has been written.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.is_closed {
                return;
            }
            waiting.flushes.push(done);
        }
        self.changed.notify_one();
        let _ = written.await;
    }

    /// Closes the queue: nothing else will be added.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Waits for exchanges to write.
    pub(super) fn next(&self, rate: &RateLimit) -> Batch {
        let mut waiting = self.lock();
        loop {
            waiting = match waiting.due(rate) {
                Due::Now => break,
                Due::After(time) => {
                    let waited = self.changed.wait_timeout(waiting, time);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                Due::WhenQueued => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let Waiting { exchanges, flushes, is_closed, .. } = std::mem::take(&mut *waiting);
        waiting.is_closed = is_closed;
        Batch { exchanges, flushes, is_last: is_closed }
    }

    /// Waits until another file may be written, or until a flush is waiting.
    pub(super) fn pause(&self, rate: &RateLimit) {
        let mut waiting = self.lock();
        while !waiting.is_urgent() {
            let left = rate.allowed.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whether a flush is waiting, or the queue is closed.
    fn is_urgent(&self) -> bool {
        self.is_closed || !self.flushes.is_empty()
    }

    /// When to write the next file.
    fn due(&self, rate: &RateLimit) -> Due {
        if self.is_urgent() {
            return Due::Now;
        }
        if self.exchanges.is_empty() {
            return Due::WhenQueued;
        }
        let due = if self.bytes >= FILE_BYTES { rate.allowed } else { rate.allowed.max(rate.due) };
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() { Due::Now } else { Due::After(left) }
    }
}

impl Batch {
    /// Notifies waiters that the batch has been written.
    pub(super) fn done(self) {
        for flush in self.flushes {
            // If it fails, the waiter is gone.
            let _ = flush.send(());
        }
    }
}

/// Determines when the next file may be written.
pub(super) struct RateLimit {
    bytes_per_second: u64,
    /// For a small file.
    due: Instant,
    /// For any file.
    allowed: Instant,
}

impl RateLimit {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        let now = Instant::now();
        Self { bytes_per_second, due: now, allowed: now }
    }

    /// Notes that a file of this size has been written.
    pub(super) fn wrote(&mut self, bytes: u64) {
        let now = Instant::now();
        let millis = bytes.saturating_mul(1000) / self.bytes_per_second.max(1);
        self.due = now + MIN_INTERVAL;
        self.allowed = now + Duration::from_millis(millis.min(60_000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_now(waiting: &Waiting, rate: &RateLimit) -> bool {
        waiting.due(rate) == Due::Now
    }

    #[test]
    fn an_exchange_is_written_at_once_if_no_file_is_recent_and_otherwise_with_others() {
        let mut rate = RateLimit::new(FILE_BYTES as u64);
        let exchanges = vec![Finished::empty()];
        let mut waiting = Waiting { bytes: exchanges[0].size(), exchanges, ..Waiting::default() };
        assert!(is_now(&waiting, &rate));
        rate.due = Instant::now() + Duration::from_secs(3600);
        assert!(!is_now(&waiting, &rate));
        waiting.bytes = FILE_BYTES;
        assert!(is_now(&waiting, &rate), "that is enough for a file");
        rate.allowed = rate.due;
        assert!(!is_now(&waiting, &rate), "nothing more may be written");
        waiting.is_closed = true;
        assert!(is_now(&waiting, &rate));
    }

    #[test]
    fn what_is_written_per_second_is_limited() {
        let mut rate = RateLimit::new(1000);
        let before = Instant::now();
        rate.wrote(30_000);
        assert!(rate.allowed >= before + Duration::from_secs(30) && rate.due >= before + MIN_INTERVAL);
        assert!(rate.due < rate.allowed);
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        let queue = Queue::default();
        let size = Finished::empty().size();
        for _ in 0..MAX_BYTES / size + 3 {
            queue.add(Finished::empty());
        }
        assert_eq!(queue.dropped(), 3);
        let batch = queue.next(&RateLimit::new(1));
        assert_eq!((batch.exchanges.len(), batch.is_last), (MAX_BYTES / size, false));
        queue.close();
        assert!(queue.next(&RateLimit::new(1)).is_last);
    }
}
