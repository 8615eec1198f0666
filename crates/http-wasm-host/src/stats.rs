//! Counts of a guest's instances.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind};

/// How many instances of a guest there are, and what became of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Instances that exist: idle, in use, or being made.
    pub live: u64,
    /// Instances that wait in the pool.
    pub idle: u64,
    /// Instances made since the guest was loaded, the failed attempts included.
    pub created: u64,
    /// Instances dropped because the guest trapped, broke the ABI, overran its deadline or a limit.
    pub dropped_failed: u64,
    /// Instances dropped because a call was cancelled inside the guest, or a body broke off that it was reading.
    pub dropped_cancelled: u64,
    /// Instances dropped because their clean-up call could not be made, or not in time.
    pub dropped_unclean: u64,
    /// Instances dropped because their memory had grown by more than [`Limits::retained_growth`](crate::Limits).
    pub dropped_outgrown: u64,
}

/// The counters behind [`PoolStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    live: AtomicU64,
    created: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    unclean: AtomicU64,
    outgrown: AtomicU64,
}

/// Why an instance isn't given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    Failed,
    Cancelled,
    Unclean,
    Outgrown,
}

impl DropReason {
    /// A peer that breaks off a body which the guest reads cancels the call; the rest is the guest's doing.
    pub(crate) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Body(_) => Self::Cancelled,
            _ => Self::Failed,
        }
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
    pub(crate) fn dropped(&self, reason: DropReason) {
        let counter = match reason {
            DropReason::Failed => &self.failed,
            DropReason::Cancelled => &self.cancelled,
            DropReason::Unclean => &self.unclean,
            DropReason::Outgrown => &self.outgrown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, idle: usize) -> PoolStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PoolStats {
            live: read(&self.live),
            idle: idle as u64,
            created: read(&self.created),
            dropped_failed: read(&self.failed),
            dropped_cancelled: read(&self.cancelled),
            dropped_unclean: read(&self.unclean),
            dropped_outgrown: read(&self.outgrown),
        }
    }
}
