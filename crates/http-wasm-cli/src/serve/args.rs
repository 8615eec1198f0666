//! The arguments of `http-wasm serve`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use http_wasm_gateway::config::{Address, Size};

use super::guest_args::GuestArgs;
use super::upstream::Upstream;
use crate::args::{GrantArgs, parse_count, seconds_from};

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Configuration file; replaces all other options
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub(crate) config: Option<PathBuf>,

    /// Address to listen on, HOST:PORT; port 0 selects any free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: Address,

    /// Guest to run, a .wasm or .wat file; repeat for a chain, outermost first [default: none, or an embedded example
    /// if --upstream is not given either]
    #[arg(long = "guest", value_name = "FILE")]
    pub(crate) guests: Vec<PathBuf>,

    /// Configuration of a guest: text, or @FILE for the content of a file; the n-th belongs to the n-th --guest, ''
    /// skips one [default: empty]
    #[arg(long = "guest-config", value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) guest_configs: Vec<String>,

    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    /// What is behind the guests: `echo` responds with the request as JSON, `hello` with `hello world`; an http:// or
    /// https:// URL is proxied [default: echo]
    ///
    /// The path of a URL is prepended to that of each request. An http upstream gets the client's Host header, an https
    /// upstream the URL's host; the client's is in X-Forwarded-Host.
    #[arg(long, value_name = "echo|hello|URL")]
    pub(crate) upstream: Option<Upstream>,

    /// Maximum number of concurrent requests, counted until their response head is available; further ones get 503 with
    /// `Retry-After`
    #[arg(long, value_name = "COUNT", default_value = "4096", value_parser = parse_count)]
    pub(crate) max_requests: NonZeroU32,

    #[command(flatten)]
    pub(crate) each_guest: GuestArgs,
    /// Connections at once; further ones wait until there is room [default: 16384, or as many as the limit of open
    /// files allows]
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    pub(crate) max_connections: Option<NonZeroU32>,

    /// Maximum size of a request body, as in 16MiB; larger requests get 413 [default: unlimited]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_request_body: Option<Size>,

    /// Seconds that a client may take to send a request head
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds_from::<1>)]
    pub(crate) header_timeout: Duration,

    /// Format of the log on stderr; RUST_LOG selects what is logged, `info` by default
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Pretty)]
    pub(crate) log: LogFormat,

    /// Seconds that the upstream may take to respond once it has the request
    #[arg(long, value_name = "SECONDS", default_value = "30", hide = true, value_parser = seconds_from::<1>)]
    pub(crate) upstream_timeout: Duration,

    /// Seconds that requests in flight may take to finish during a graceful shutdown
    #[arg(long, value_name = "SECONDS", default_value = "30", hide = true, value_parser = seconds_from::<0>)]
    pub(crate) shutdown_timeout: Duration,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line per event, for people
    Pretty,
    /// One JSON object per event
    Json,
}

impl From<LogFormat> for http_wasm_gateway::config::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Pretty => Self::Pretty,
            LogFormat::Json => Self::Json,
        }
    }
}
