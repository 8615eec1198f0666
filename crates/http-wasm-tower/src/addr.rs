//! The client's address, for `get_source_addr`.

use std::net::SocketAddr;

use http::Extensions;

/// The client's address, as a request extension that the server inserts.
///
/// Behind axum's `into_make_service_with_connect_info` the layer is told with
/// [`HttpWasmLayer::source_addr`](crate::HttpWasmLayer::source_addr) how to find its `ConnectInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceAddr(pub SocketAddr);

pub(crate) type FindAddr = fn(&Extensions) -> Option<SocketAddr>;

pub(crate) fn from_extension(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<SourceAddr>().map(|addr| addr.0)
}
