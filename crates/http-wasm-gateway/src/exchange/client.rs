//! The client of a request.

use std::net::SocketAddr;

use http::HeaderValue;

/// The sender of a request, and its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) addr: SocketAddr,
    /// Whether the request arrived over TLS.
    pub(crate) tls: bool,
}

impl Client {
    /// The address as a field value.
    pub(crate) fn address_value(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.addr.ip().to_string()).ok()
    }
}

/// How many header fields of a request were dropped, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// They identify the client, but the sender isn't trusted.
    pub(crate) claims: u32,
    /// They have an underscore in their name.
    pub(crate) underscores: u32,
}
