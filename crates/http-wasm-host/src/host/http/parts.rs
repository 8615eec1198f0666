//! What an [`HttpHost`](super::HttpHost) holds, in a box that its thread uses again.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, Response, Version};

use super::inform::Inform;
use crate::host::Body;

/// In a box, as a host is moved a lot: into the store and out, in and out of futures.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// As it came, or its head as it was handed on.
    pub(super) request: Option<Request<Body>>,
    /// What framing a response depends on, once the request is gone.
    pub(super) method: Method,
    pub(super) version: Version,
    /// Made when the guest or the next handler first sets something of it.
    pub(super) response: Option<Response<Body>>,
    pub(super) source_addr: Option<SocketAddr>,
    /// Whether the next recipient of the message treats `_` in field names as `-`.
    pub(super) folds_underscores: bool,
    pub(super) sheddable: bool,
    /// The exchange's number for a tracer.
    pub(super) trace_id: u64,
    pub(super) informational: Option<Arc<dyn Inform>>,
}

impl Parts {
    /// Drops the messages, and resets what is not set for each request.
    #[inline]
    fn clear(&mut self) {
        self.request = None;
        self.response = None;
        self.informational = None;
        self.folds_underscores = false;
        self.sheddable = false;
        self.trace_id = 0;
    }
}

/// The parts of a host that this thread gets back once this is dropped, which is after the response has been moved
/// straight to its destination.
pub(super) struct RecycledParts(pub(super) Option<Box<Parts>>);

impl RecycledParts {
    #[inline]
    pub(super) fn response(mut self) -> Response<Body> {
        self.0.as_mut().and_then(|parts| parts.response.take()).unwrap_or_default()
    }
}

impl Drop for RecycledParts {
    #[inline]
    fn drop(&mut self) {
        if let Some(parts) = &mut self.0 {
            parts.clear();
        }
        let parts = self.0.take();
        // A thread that ends keeps nothing.
        let _ = SPARE.try_with(|spare| spare.set(parts));
    }
}

thread_local! {
    /// The box of the last host that this thread has finished with, empty: most requests need none of their own.
    static SPARE: Cell<Option<Box<Parts>>> = const { Cell::new(None) };
}

/// An empty box.
#[inline]
pub(super) fn spare() -> Box<Parts> {
    let spare = SPARE.try_with(Cell::take).ok().flatten();
    spare.filter(|spare| spare.request.is_none()).unwrap_or_default()
}
