//! Connections in either HTTP version, and what is known of those that are open.

pub(super) mod http1;
pub(super) mod http2;
