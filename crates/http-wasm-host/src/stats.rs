//! Counts of a guest's instances.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::{Error, ErrorKind};

/// How many instances of a guest there are, and what became of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Instances that exist: idle, in use, or being made.
    pub live: u64,
    /// Instances that wait in the pool.
    pub idle: u64,
    /// Instances made since the guest was loaded, those included whose start-up failed. One that the host refused for want of memory
    /// isn't.
    pub created: u64,
    /// Instances dropped because the guest trapped, broke the ABI, overran its deadline or a limit.
    pub dropped_failed: u64,
    /// Instances dropped because a call was cancelled inside the guest, or a body broke off that it was reading.
    pub dropped_cancelled: u64,
    /// Instances dropped because their clean-up call could not be made, or not in time.
    pub dropped_unclean: u64,
    /// Instances dropped because their memory had grown by more than [`Limits::retained_growth`](crate::Limits).
    pub dropped_outgrown: u64,
    /// Instances dropped because nobody needed them for [`PoolSettings::idle_ttl`](crate::PoolSettings), or
    /// [`PoolSettings::max_idle`](crate::PoolSettings) others were idle already.
    pub dropped_idle: u64,
    /// Bytes that the memories and tables of all its instances take. Pages that were never touched count too.
    pub memory_bytes: u64,
}

/// Why an instance isn't given back, or doesn't stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The guest trapped, broke the ABI, overran its deadline or a limit.
    Failed,
    /// A call was cancelled inside the guest, or a body broke off that it was reading.
    Cancelled,
    /// Its clean-up call could not be made, or not in time.
    Unclean,
    /// Its memory had grown by more than [`Limits::retained_growth`](crate::Limits).
    Outgrown,
    /// Nobody needed it.
    Idle,
}

impl DropReason {
    const COUNT: usize = 5;

    /// A peer that breaks off a body which the guest reads cancels the call; the rest is the guest's doing.
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
    /// An instance could not be made, and the guest is not at fault.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Release);
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
        }
    }
}
