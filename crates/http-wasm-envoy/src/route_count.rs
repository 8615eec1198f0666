//! Counts the configurations of routes.

use std::sync::atomic::{AtomicUsize, Ordering};

static ROUTES: AtomicUsize = AtomicUsize::new(0);

/// Counts a route's configuration while it exists.
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

/// The current number of configurations.
pub(crate) fn current() -> usize {
    ROUTES.load(Ordering::Relaxed)
}
