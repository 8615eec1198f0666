//! The client's address, for `get_source_addr`.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Extensions;

/// The client's address, as a request extension that the server inserts.
///
/// Without it, guests see an empty address. For servers that have their own extension, such as axum's `ConnectInfo`,
/// set where the layer finds it with [`HttpWasmLayer::source_addr`](crate::HttpWasmLayer::source_addr).
///
/// ```
/// use http_wasm_tower::{Body, SourceAddr};
///
/// # let client: std::net::SocketAddr = ([127, 0, 0, 1], 4711).into();
/// let mut request = http::Request::new(Body::empty());
/// request.extensions_mut().insert(SourceAddr(client));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceAddr(pub SocketAddr);

/// How the address is found.
#[derive(Clone)]
pub(crate) enum FindAddr {
    Extension,
    Other(Arc<Find>),
}

type Find = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;

impl FindAddr {
    #[inline]
    pub(crate) fn find(&self, extensions: &Extensions) -> Option<SocketAddr> {
        match self {
            Self::Extension => extensions.get::<SourceAddr>().map(|addr| addr.0),
            Self::Other(find) => find(extensions),
        }
    }
}
