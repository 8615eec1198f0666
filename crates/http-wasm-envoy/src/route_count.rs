//! How many configurations of routes there are.

use std::sync::atomic::{AtomicUsize, Ordering};

static ROUTES: AtomicUsize = AtomicUsize::new(0);

/// Counts a route's configuration for as long as it lives.
pub(crate) struct RouteCount(());

impl RouteCount {
    pub(crate) fn new() -> Self {
        ROUTES.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for RouteCount {
    fn drop(&mut self) {
        ROUTES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many there are now.
pub(crate) fn current() -> usize {
    ROUTES.load(Ordering::Relaxed)
}
