//! Helpers for the tests of several modules.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Creates a header map with these fields.
pub(crate) fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The waker of a task, and how often the task was woken.
pub(crate) fn task() -> (Waker, impl Fn() -> usize) {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    (count.clone().into(), move || count.0.load(Ordering::Relaxed))
}
