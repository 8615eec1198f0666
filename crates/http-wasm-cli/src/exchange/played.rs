//! An exchange that has been played.

use std::sync::Arc;

use http_wasm_tower::Error;

use super::entry::Entry;
use super::seen::{SeenRequest, SeenResponse};

/// What happened in an exchange.
pub(crate) struct Played {
    pub(crate) entries: Vec<Entry>,
    /// The request as the next handler got it, if it did.
    pub(crate) request: Option<SeenRequest>,
    /// The response as the client gets it; none if the next handler gave none.
    pub(crate) response: Option<SeenResponse>,
    /// Why the next handler gave no response.
    pub(crate) next_error: Option<String>,
    /// Why the guest failed.
    pub(crate) error: Option<Arc<Error>>,
}
