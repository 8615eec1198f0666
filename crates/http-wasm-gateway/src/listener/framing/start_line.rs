//! The first line of a request, for the access log if hyper can't parse its head.

use std::sync::{Mutex, PoisonError};

/// What is kept of a line.
const MAX_BYTES: usize = 1024;

/// The first line of the last request on a connection.
#[derive(Debug, Default)]
pub(in crate::listener) struct StartLine(Mutex<Vec<u8>>);

impl StartLine {
    /// A request begins with this.
    pub(super) fn set(&self, head: &[u8]) {
        let part = &head[..head.len().min(MAX_BYTES)];
        let part = memchr::memchr(b'\r', part).map_or(part, |end| &part[..end]);
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.clear();
        line.extend_from_slice(part);
    }

    pub(in crate::listener) fn get(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
