//! The first line of a request, for the access log if hyper can't parse its head.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// How much of a line is kept.
const MAX_BYTES: usize = 1024;

/// The first line of the last request on a connection, and whether its head is complete.
#[derive(Debug, Default)]
pub(in crate::listener) struct StartLine {
    line: Mutex<Vec<u8>>,
    /// Whether the head has started to arrive but isn't complete.
    partial: AtomicBool,
    /// Whether the head took too long.
    timed_out: AtomicBool,
}

impl StartLine {
    /// Sets the line at the start of a complete head.
    pub(super) fn set(&self, head: &[u8]) {
        self.partial.store(false, Ordering::Relaxed);
        self.store(head);
    }

    /// Sets the line at the start of an incomplete head.
    pub(super) fn set_partial(&self, head: &[u8]) {
        self.partial.store(true, Ordering::Relaxed);
        self.store(head);
    }

    /// Called when the time for a head is over. Returns whether one had started to arrive.
    pub(in crate::listener) fn times_out(&self) -> bool {
        let partial = self.partial.load(Ordering::Relaxed);
        self.timed_out.store(partial, Ordering::Relaxed);
        partial
    }

    /// Whether a head took too long.
    pub(in crate::listener) fn has_timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed)
    }

    fn store(&self, head: &[u8]) {
        let part = &head[..head.len().min(MAX_BYTES)];
        let part = memchr::memchr(b'\r', part).map_or(part, |end| &part[..end]);
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.clear();
        line.extend_from_slice(part);
    }

    pub(in crate::listener) fn get(&self) -> Vec<u8> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
