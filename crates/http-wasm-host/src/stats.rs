//! Counts of a guest's instances.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::{Error, ErrorKind};

/// How many instances of a guest there are, and what happened to those that no longer exist. Returned by
/// [`Guest::stats`](crate::Guest::stats).
///
/// `created` and the fields that begin with `dropped` are totals since the guest was loaded; the others are current
/// numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Instances that exist: idle, in use or being created.
    pub live: u64,
    /// Instances that are idle in the pool.
    pub idle: u64,
    /// Instances created, including those whose start-up failed, but not those that the host refused for lack of
    /// memory.
    pub created: u64,
    /// Instances dropped because the guest trapped, broke the ABI, or exceeded its deadline or a limit.
    pub dropped_failed: u64,
    /// Instances dropped because a call was cancelled inside the guest, or a body that it was reading ended
    /// prematurely.
    pub dropped_cancelled: u64,
    /// Instances dropped because their clean-up call couldn't be made, or not in time.
    pub dropped_unclean: u64,
    /// Instances dropped because their memory had grown by more than [`Limits::retained_growth`](crate::Limits).
    pub dropped_outgrown: u64,
    /// Instances dropped because they were idle for [`PoolSettings::idle_ttl`](crate::PoolSettings), or
    /// [`PoolSettings::max_idle`](crate::PoolSettings) others were already idle.
    pub dropped_idle: u64,
    /// The size of the memories and tables of all instances, in bytes, including pages that were never touched.
    pub memory_bytes: u64,
    /// Calls that were [abandoned](crate::AbandonedCall) and have not ended yet.
    pub abandoned: u64,
    /// Instances that are pinned to messages which are sent while the guest writes them; see
    /// [`Stream`](crate::Stream).
    pub streaming: u64,
}

/// Why an instance isn't returned to the pool, or doesn't stay there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The guest trapped, broke the ABI, or exceeded its deadline or a limit.
    Failed,
    /// A call was cancelled inside the guest, or a body that it was reading ended prematurely.
    Cancelled,
    /// Its clean-up call couldn't be made, or not in time.
    Unclean,
    /// Its memory had grown by more than [`Limits::retained_growth`](crate::Limits).
    Outgrown,
    /// It wasn't needed.
    Idle,
}

impl DropReason {
    const COUNT: usize = 5;

    /// If a peer ends a body prematurely while the guest reads it, the call is cancelled; everything else is the
    /// guest's doing.
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Body(_) => Self::Cancelled,
            _ => Self::Failed,
        }
    }
}

/// The counters behind [`PoolStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    live: AtomicU64,
    created: AtomicU64,
    refused: AtomicU64,
    dropped: [AtomicU64; DropReason::COUNT],
    memory: AtomicUsize,
    abandoned: AtomicU64,
    streaming: AtomicU64,
}

/// Maximum number of abandoned calls of one guest. Each holds an instance. A flood of them costs instances, as if none
/// could be abandoned.
const MAX_ABANDONED: u64 = 128;

/// Counts one abandoned call until it ends.
#[derive(Debug)]
pub(crate) struct AbandonedCount(Arc<Counters>);

impl AbandonedCount {
    /// `None` if there are too many.
    pub(crate) fn one_more(counters: &Arc<Counters>) -> Option<Self> {
        let count = Self(counters.clone());
        (counters.abandoned.fetch_add(1, Ordering::Relaxed) < MAX_ABANDONED).then_some(count)
    }
}

impl Drop for AbandonedCount {
    fn drop(&mut self) {
        self.0.abandoned.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one instance while it is pinned to a stream.
#[derive(Debug)]
pub(crate) struct StreamCount(Arc<Counters>);

impl StreamCount {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        counters.streaming.fetch_add(1, Ordering::Relaxed);
        Self(counters.clone())
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.streaming.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one instance for as long as it lives.
#[derive(Debug)]
pub(crate) struct Live(Arc<Counters>);

impl Live {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        counters.live.fetch_add(1, Ordering::Relaxed);
        counters.created.fetch_add(1, Ordering::Relaxed);
        Self(counters.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    /// An instance couldn't be created, and the guest isn't at fault.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) fn dropped(&self, reason: DropReason) {
        self.dropped[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn hold(&self, bytes: usize) {
        self.memory.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, idle: usize) -> PoolStats {
        let dropped = |reason: DropReason| self.dropped[reason as usize].load(Ordering::Relaxed);
        // In this order, so that the difference is never negative.
        let refused = self.refused.load(Ordering::Acquire);
        PoolStats {
            live: self.live.load(Ordering::Relaxed),
            idle: idle as u64,
            created: self.created.load(Ordering::Relaxed).saturating_sub(refused),
            dropped_failed: dropped(DropReason::Failed),
            dropped_cancelled: dropped(DropReason::Cancelled),
            dropped_unclean: dropped(DropReason::Unclean),
            dropped_outgrown: dropped(DropReason::Outgrown),
            dropped_idle: dropped(DropReason::Idle),
            memory_bytes: self.memory.load(Ordering::Relaxed) as u64,
            abandoned: self.abandoned.load(Ordering::Relaxed),
            streaming: self.streaming.load(Ordering::Relaxed),
        }
    }
}
