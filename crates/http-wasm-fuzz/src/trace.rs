//! The results of an exchange.

use std::sync::Arc;

use http_wasm_host::Error;

use crate::subject::Seen;

/// The results of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// The request as the next handler receives it.
    pub(crate) request: Option<Seen>,
    /// The response as the client receives it.
    pub(crate) response: Option<Seen>,
    pub(crate) error: Option<Arc<Error>>,
}
