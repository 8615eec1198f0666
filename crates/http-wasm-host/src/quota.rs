//! What one instance may hold in memories and tables.

use wasmtime::{ResourceLimiter, Result};

use crate::limits::Limits;

/// Counts what all memories of an instance hold together, and all its tables: a module may have a hundred of each.
/// Wasmtime asks before it allocates; what it is refused fails inside the guest, or the instance can't be made.
#[derive(Debug)]
pub(crate) struct Quota {
    memory: Share,
    tables: Share,
}

#[derive(Debug)]
struct Share {
    /// Growth that was granted counts even if the system refuses it then: wasmtime doesn't say which it was.
    used: usize,
    limit: usize,
}

impl Quota {
    pub(crate) fn new(limits: &Limits) -> Self {
        let share = |limit| Share { used: 0, limit };
        Self { memory: share(limits.memory_bytes), tables: share(limits.table_elements) }
    }

    /// Bytes that all memories hold.
    pub(crate) fn memory(&self) -> usize {
        self.memory.used
    }
}

impl Share {
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        let more = desired.saturating_sub(current);
        let granted = maximum.is_none_or(|maximum| desired <= maximum) && more <= self.limit - self.used;
        self.used += if granted { more } else { 0 };
        granted
    }
}

impl ResourceLimiter for Quota {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        Ok(self.memory.grow(current, desired, maximum))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        Ok(self.tables.grow(current, desired, maximum))
    }

    fn instances(&self) -> usize {
        1
    }
}
