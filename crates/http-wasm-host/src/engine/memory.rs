//! What the guests of an engine may hold in memory, each instance by itself and all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::ResourceLimiter;

use crate::limits::Limits;
use crate::stats::Counters;

/// What a table's element costs the host.
const ELEMENT_BYTES: usize = size_of::<usize>();

/// The memory that all guests of an engine may hold together, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0) }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One instance's part of it. What it holds is given back when it is dropped.
pub(crate) struct Quota {
    budget: Arc<Budget>,
    counters: Arc<Counters>,
    memory_limit: usize,
    table_limit: usize,
    /// Bytes of linear memory, all memories of the instance together.
    memory: usize,
    /// Bytes of memories and tables.
    held: usize,
    /// Something was refused because all guests together hold too much.
    starved: bool,
}

impl Quota {
    pub(crate) fn new(budget: Arc<Budget>, counters: Arc<Counters>, limits: &Limits) -> Self {
        Self {
            budget,
            counters,
            memory_limit: limits.memory_bytes,
            table_limit: limits.table_elements,
            memory: 0,
            held: 0,
            starved: false,
        }
    }

    /// Forgets what was refused before.
    pub(crate) fn begin(&mut self) {
        self.starved = false;
    }

    /// The budget, if it was the reason for a refusal since [`begin`](Self::begin).
    pub(crate) fn starved(&self) -> Option<&Budget> {
        self.starved.then_some(&*self.budget)
    }

    fn grant(&mut self, memory: usize, held: usize) -> bool {
        if !self.budget.take(held) {
            self.starved = true;
            return false;
        }
        self.memory += memory;
        self.held += held;
        self.counters.hold(held);
        true
    }
}

/// What is granted here and then refused by the system stays charged until the instance is dropped: that is rare, bounded by the
/// instance's own limit, and wasmtime doesn't say which grant it was.
impl ResourceLimiter for Quota {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let fits = self.memory.checked_add(more).is_some_and(|sum| sum <= self.memory_limit);
        Ok(fits && within(desired, maximum) && self.grant(more, more))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current).saturating_mul(ELEMENT_BYTES);
        Ok(desired <= self.table_limit && within(desired, maximum) && self.grant(0, more))
    }

    fn instances(&self) -> usize {
        1
    }
}

fn within(desired: usize, maximum: Option<usize>) -> bool {
    maximum.is_none_or(|maximum| desired <= maximum)
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.counters.release(self.held);
        self.budget.give_back(self.held);
    }
}
