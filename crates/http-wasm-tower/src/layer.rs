//! The layer.

use std::fmt;
use std::net::SocketAddr;

use http::Extensions;
use tower_layer::Layer;

use crate::Guest;
use crate::addr::{self, FindAddr};
use crate::failure::{FailurePolicy, HideDetails, Policy};
use crate::service::HttpWasm;

/// Puts a guest in front of a service.
///
/// With several, the first guest to see a request is the outermost layer.
#[derive(Clone)]
pub struct HttpWasmLayer {
    pub(crate) guest: Guest,
    pub(crate) failure: Policy,
    pub(crate) find_addr: FindAddr,
}

impl HttpWasmLayer {
    /// A layer with default settings.
    pub fn new(guest: Guest) -> Self {
        Self { guest, failure: Policy::new(HideDetails), find_addr: addr::from_extension }
    }

    /// What a client gets when the guest fails. [`HideDetails`] by default.
    pub fn on_failure(mut self, policy: impl FailurePolicy) -> Self {
        self.failure = Policy::new(policy);
        self
    }

    /// Where the client's address is found. By default in the extension [`SourceAddr`](crate::SourceAddr).
    ///
    /// ```
    /// use axum::extract::ConnectInfo;
    /// # use std::net::SocketAddr;
    /// # fn with_addr(layer: http_wasm_tower::HttpWasmLayer) -> http_wasm_tower::HttpWasmLayer {
    /// layer.source_addr(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
    /// # }
    /// ```
    pub fn source_addr(mut self, find: fn(&Extensions) -> Option<SocketAddr>) -> Self {
        self.find_addr = find;
        self
    }
}

impl<S> Layer<S> for HttpWasmLayer {
    type Service = HttpWasm<S>;

    fn layer(&self, inner: S) -> HttpWasm<S> {
        HttpWasm::new(inner, self.clone())
    }
}

impl fmt::Debug for HttpWasmLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpWasmLayer").field("guest", &self.guest).finish_non_exhaustive()
    }
}
