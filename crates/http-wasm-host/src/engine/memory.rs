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

#[derive(Debug)]
struct Share {
    used: usize,
    limit: usize,
}

impl Share {
    fn has_room(&self, more: usize) -> bool {
        more <= self.limit.saturating_sub(self.used)
    }
}

/// One instance's part of it. What it holds is given back when it is dropped.
pub(crate) struct Quota {
    budget: Arc<Budget>,
    counters: Arc<Counters>,
    /// Bytes of linear memory, all memories of the instance together: a module may have a hundred.
    memory: Share,
    /// Elements of all tables together.
    tables: Share,
    /// Bytes of memories and tables.
    held: usize,
    /// Something was refused because all guests together hold too much.
    starved: bool,
    /// The last growth of a memory that was refused, and why.
    refused: Option<Growth>,
}

/// A growth of a memory that was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    /// The size that it would have reached, including the instance's other memories, in bytes.
    pub(crate) to: usize,
    /// The maximum.
    pub(crate) limit: usize,
    /// The limit is the module's own.
    pub(crate) is_modules: bool,
}

impl Quota {
    pub(crate) fn new(budget: Arc<Budget>, counters: Arc<Counters>, limits: &Limits) -> Self {
        Self {
            budget,
            counters,
            memory: Share { used: 0, limit: limits.memory_bytes },
            tables: Share { used: 0, limit: limits.table_elements },
            held: 0,
            starved: false,
            refused: None,
        }
    }

    /// Forgets what was refused before.
    pub(crate) fn begin(&mut self) {
        self.starved = false;
        self.refused = None;
    }

    /// The budget, if it was the reason for a refusal since [`begin`](Self::begin).
    pub(crate) fn starved(&self) -> Option<&Budget> {
        self.starved.then_some(&*self.budget)
    }

    /// The last growth that was refused since then because of a limit on this instance.
    pub(crate) fn refused(&self) -> Option<Growth> {
        self.refused
    }

    /// Bytes that all memories hold.
    pub(crate) fn memory(&self) -> usize {
        self.memory.used
    }

    fn grant(&mut self, bytes: usize) -> bool {
        let granted = self.budget.take(bytes);
        if granted {
            self.held += bytes;
            self.counters.hold(bytes);
        }
        self.starved |= !granted;
        granted
    }
}

/// A growth that is granted here and then refused by the system stays charged until the instance is dropped: this is
/// rare, bounded by the instance's own limit, and wasmtime doesn't say which growth it was.
impl ResourceLimiter for Quota {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let fits = self.memory.has_room(more);
        if let Some(limit) = maximum.filter(|maximum| desired > *maximum) {
            self.refused = Some(Growth { to: desired, limit, is_modules: true });
        } else if !fits {
            let to = self.memory.used.saturating_add(more);
            self.refused = Some(Growth { to, limit: self.memory.limit, is_modules: false });
        }
        let granted = within(desired, maximum) && fits && self.grant(more);
        self.memory.used += if granted { more } else { 0 };
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let bytes = more.saturating_mul(ELEMENT_BYTES);
        let granted = within(desired, maximum) && self.tables.has_room(more) && self.grant(bytes);
        self.tables.used += if granted { more } else { 0 };
        Ok(granted)
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
