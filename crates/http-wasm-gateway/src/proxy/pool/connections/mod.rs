//! Connections in either HTTP version, and the state of open ones.

pub(super) mod http1;
pub(super) mod http2;
