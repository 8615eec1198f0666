//! The result of an exchange.

use std::sync::Arc;

use http_wasm_tower::Error;

use super::entry::Entry;
use super::seen::{SeenRequest, SeenResponse};

/// What happened in an exchange, and how it ended.
pub(crate) struct ExchangeResult {
    pub(crate) entries: Vec<Entry>,
    /// The request as the next handler receives it, if it was called.
    pub(crate) request: Option<SeenRequest>,
    /// The response as the client receives it; `None` if the next handler failed.
    pub(crate) response: Option<SeenResponse>,
    /// Why the next handler failed.
    pub(crate) next_error: Option<String>,
    /// Why the guest failed.
    pub(crate) error: Option<Arc<Error>>,
}
