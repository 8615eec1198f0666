//! Flags that limit what clients, requests and all guests together may use.

use std::num::NonZeroU32;

use http_wasm_gateway::config::{AnyTime, ClientLimits, Server, Size, Time};

use crate::args::{parse_count, parse_size, parse_time};

/// Limits of the gateway as a whole.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Maximum number of concurrent requests, counted until their response head is available; further ones get 503 with
    /// `Retry-After`
    #[arg(long, value_name = "COUNT", default_value = "4096", value_parser = parse_count)]
    max_requests: NonZeroU32,

    /// Maximum number of concurrent connections; further ones wait until one closes [default: 16384, or as many as the
    /// limit of open files allows]
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    max_connections: Option<NonZeroU32>,

    /// Maximum size of a request body; larger requests get 413 [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_request_body: Option<Size>,

    /// Maximum memory of all guest instances together; above this, requests that need another instance get 503 with
    /// `Retry-After` [default: half of the memory of the machine or of the process's control groups]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    guest_memory_budget: Option<Size>,

    /// Maximum memory of all bodies that guests have read or written, until they are delivered; above this, requests
    /// get 503 with `Retry-After` [default: a quarter of the memory of the machine or of the process's control groups]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    body_memory_budget: Option<Size>,

    /// How long a client may take to send a request head
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    header_timeout: Time,

    /// How long the upstream may take to start its response
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    pub(crate) upstream_timeout: Time,

    /// How long requests are still accepted after a signal to stop, while health checks already fail
    #[arg(long, value_name = "TIME", default_value = "0s")]
    shutdown_delay: AnyTime,

    /// How long requests in flight may take to finish during a graceful shutdown, after --shutdown-delay
    #[arg(long, value_name = "TIME", default_value = "30s")]
    shutdown_timeout: AnyTime,
}

impl LimitArgs {
    /// The limits for clients.
    pub(crate) fn for_clients(&self) -> ClientLimits {
        ClientLimits {
            max_connections: self.max_connections,
            max_request_body: self.max_request_body,
            header_timeout: self.header_timeout,
            ..ClientLimits::default()
        }
    }

    /// Applies the other flags to the server's settings.
    pub(crate) fn apply(&self, server: &mut Server) {
        server.max_requests = self.max_requests;
        server.guest_memory_budget = self.guest_memory_budget;
        server.body_memory_budget = self.body_memory_budget;
        server.drain_delay = self.shutdown_delay;
        server.drain_timeout = self.shutdown_timeout;
    }
}
