//! The layer.

use std::fmt;
use std::net::SocketAddr;

use http::Extensions;
use tower_layer::Layer;

use crate::chain::{Chain, ChainGuest};
use crate::failure::FailurePolicy;
use crate::service::HttpWasm;

/// A layer that puts a guest in front of a service. See the [crate's documentation](crate) for an example.
///
/// For several guests, use several layers, of which the outermost sees a request first, or a [`Chain`], which is a
/// layer too.
#[derive(Clone)]
pub struct HttpWasmLayer {
    chain: Chain,
}

impl HttpWasmLayer {
    /// Creates a layer with default settings for a [`Guest`](crate::Guest), or for a [`GuestCell`](crate::GuestCell),
    /// whose guest can be replaced later.
    pub fn new(guest: impl Into<ChainGuest>) -> Self {
        Self { chain: Chain::new([guest]) }
    }

    /// Sets what a client gets when the guest fails. Defaults to [`HideDetails`](crate::HideDetails).
    ///
    /// Whether an exchange fails when the guest does is a setting of the guest:
    /// [`GuestBuilder::on_failure`](crate::GuestBuilder::on_failure).
    #[must_use]
    pub fn failure_policy(mut self, policy: impl FailurePolicy) -> Self {
        self.chain = self.chain.failure_policy(policy);
        self
    }

    /// Sets where the client's address is found. Defaults to the extension [`SourceAddr`](crate::SourceAddr).
    ///
    /// ```
    /// use axum::extract::ConnectInfo;
    /// # use std::net::SocketAddr;
    /// # fn with_addr(layer: http_wasm_tower::HttpWasmLayer) -> http_wasm_tower::HttpWasmLayer {
    /// layer.source_addr(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
    /// # }
    /// ```
    #[must_use]
    pub fn source_addr(
        mut self,
        find: impl Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.chain = self.chain.source_addr(find);
        self
    }
}

/// A layer of a chain's guests and settings.
impl From<Chain> for HttpWasmLayer {
    fn from(chain: Chain) -> Self {
        Self { chain }
    }
}

impl<S> Layer<S> for HttpWasmLayer {
    type Service = HttpWasm<S>;

    fn layer(&self, inner: S) -> HttpWasm<S> {
        HttpWasm::new(inner, self.chain.clone())
    }
}

impl fmt::Debug for HttpWasmLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpWasmLayer").field("guests", &self.chain.guests()).finish_non_exhaustive()
    }
}
