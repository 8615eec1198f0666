//! Timeouts and limits of the connections to an upstream.

use std::time::Duration;

use crate::config::Upstream;

/// The timeouts and limits of connections.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) connect_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) max_idle: usize,
    pub(super) max_http2_connections: usize,
    pub(super) stream_window: u32,
    pub(super) ping_interval: Option<Duration>,
    pub(super) ping_timeout: Duration,
    pub(super) max_response_head: usize,
    pub(super) max_response_fields: usize,
    pub(super) max_request_head: usize,
    pub(super) max_request_field: usize,
}

impl Settings {
    pub(super) fn new(upstream: &Upstream) -> Self {
        Self {
            connect_timeout: upstream.connect_timeout.0,
            idle_timeout: upstream.idle_timeout.0,
            max_idle: upstream.max_idle.get() as usize,
            max_http2_connections: upstream.max_http2_connections.get() as usize,
            stream_window: u32::try_from(upstream.stream_window.0).unwrap_or(u32::MAX),
            ping_interval: upstream.ping_interval.0,
            ping_timeout: upstream.ping_timeout.0,
            max_response_head: upstream.max_response_header_size.bytes(),
            max_response_fields: upstream.max_response_headers.get() as usize,
            max_request_head: upstream.max_request_header_size.bytes(),
            max_request_field: upstream.max_request_field_size.bytes(),
        }
    }
}
