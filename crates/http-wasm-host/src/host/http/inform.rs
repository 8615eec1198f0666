//! Informational responses that guests send.

use std::fmt;

use http::{HeaderMap, StatusCode};

/// Receives the informational responses (1xx) of guests; see [`HttpHost::inform_with`](crate::HttpHost::inform_with).
pub trait Inform: fmt::Debug + Send + Sync {
    /// Sends an informational response with the response headers that have been set so far, or drops it. This is called
    /// while the guest runs, so it must not block.
    fn inform(&self, status: StatusCode, headers: HeaderMap);
}
