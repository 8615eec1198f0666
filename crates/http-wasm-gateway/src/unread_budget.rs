//! Limits the memory of all HTTP/2 uploads that haven't been read yet.
//!
//! A connection's flow-control window covers all its streams, so that none blocks another. With many connections, the
//! windows add up to more than a process may have. The budget therefore doesn't limit windows, but bytes that were
//! received and not read yet. Once it is used up, connections that hold more than their share aren't read from until
//! they hold less, which slows down their clients through TCP.

use std::sync::atomic::{AtomicU64, Ordering};

/// How much every connection may hold, however many there are.
const MIN_SHARE: u64 = 64 * 1024;

/// The bytes that were received on all connections and not read yet.
#[derive(Debug)]
pub(crate) struct UnreadBudget {
    limit: u64,
    used: AtomicU64,
    /// The number of connections that hold any of them.
    holders: AtomicU64,
}

impl UnreadBudget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0), holders: AtomicU64::new(0) }
    }

    /// Records that a connection that held `before` bytes now holds `after`.
    pub(crate) fn change(&self, before: u64, after: u64) {
        // The difference may be negative; unsigned arithmetic wraps around to the right value.
        self.used.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        match (before, after) {
            (0, 1..) => self.holders.fetch_add(1, Ordering::Relaxed),
            (1.., 0) => self.holders.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    /// Whether a connection that holds `held` bytes may receive more.
    pub(crate) fn allows(&self, held: u64) -> bool {
        if held < MIN_SHARE || self.used.load(Ordering::Relaxed) < self.limit {
            return true;
        }
        held < self.limit / self.holders.load(Ordering::Relaxed).max(1)
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{MIN_SHARE, UnreadBudget};

    #[test]
    fn a_connection_may_exceed_its_share_only_while_the_budget_has_room() {
        let budget = UnreadBudget::new(10 * MIN_SHARE);
        budget.change(0, 7 * MIN_SHARE);
        assert!(budget.allows(7 * MIN_SHARE));
        budget.change(0, 3 * MIN_SHARE);
        assert!(!budget.allows(7 * MIN_SHARE), "the budget is used up, and its share is half of it");
        assert!(budget.allows(3 * MIN_SHARE));
        budget.change(7 * MIN_SHARE, 4 * MIN_SHARE);
        assert!(budget.allows(4 * MIN_SHARE));
        assert_eq!(budget.used(), 7 * MIN_SHARE);
    }

    #[test]
    fn every_connection_has_a_minimum_share() {
        let budget = UnreadBudget::new(MIN_SHARE);
        for _ in 0..100 {
            budget.change(0, MIN_SHARE);
        }
        assert!(budget.allows(MIN_SHARE - 1));
        assert!(!budget.allows(MIN_SHARE));
    }
}
