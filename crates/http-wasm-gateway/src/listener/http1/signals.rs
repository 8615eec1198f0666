//! What a connection and the code that limits its lifetime tell each other.

use std::sync::atomic::{AtomicBool, Ordering};

/// Signals between a connection and the code that polls it, in one task.
#[derive(Debug, Default)]
pub(in crate::listener) struct Signals {
    /// Whether a head has started to arrive but isn't complete.
    partial_head: AtomicBool,
    /// Whether the connection takes no further requests.
    closing: AtomicBool,
    /// Whether a head took too long.
    timed_out: AtomicBool,
}

impl Signals {
    pub(super) fn set_partial_head(&self, partial: bool) {
        self.partial_head.store(partial, Ordering::Relaxed);
    }

    /// Makes the connection end after the current request.
    pub(in crate::listener) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Called when the time for a head is over. Returns whether one had started to arrive, and so gets a response.
    pub(in crate::listener) fn time_out(&self) -> bool {
        let partial = self.partial_head.load(Ordering::Relaxed);
        self.timed_out.store(partial, Ordering::Relaxed);
        partial
    }

    pub(super) fn has_timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed)
    }
}
