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
    /// Configuration file; it replaces all other options
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub(crate) config: Option<PathBuf>,

    /// Address to listen on, HOST:PORT; port 0 takes any free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: Address,

    /// Guest to run, a .wasm or .wat file; repeat for a chain, the first is outermost [default: none, but an embedded
    /// example if --upstream is not given either]
    #[arg(long = "guest", value_name = "FILE")]
    pub(crate) guests: Vec<PathBuf>,

    /// Configuration handed to a guest: text, or @FILE for a file's bytes; the n-th belongs to the n-th --guest, ''
    /// leaves one out [default: empty]
    #[arg(long = "guest-config", value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) guest_configs: Vec<String>,

    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    /// What stands behind the guests: `echo` answers the request as JSON, `hello` answers `hello world`, an http:// or
    /// https:// URL proxies there [default: echo]
    ///
    /// The path of a URL is put before that of each request. An http upstream gets the client's own Host header, an
    /// https upstream the URL's; the client's is in X-Forwarded-Host.
    #[arg(long, value_name = "echo|hello|URL")]
    pub(crate) upstream: Option<Upstream>,

    /// Requests that may be on their way to a response at once; further ones get 503 with `Retry-After`
    #[arg(long, value_name = "COUNT", default_value = "4096", value_parser = parse_count)]
    pub(crate) max_requests: NonZeroU32,

    #[command(flatten)]
    pub(crate) each_guest: GuestArgs,
    /// Connections at once; further ones wait until there is room [default: 16384, or as many as the limit of open
    /// files allows]
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    pub(crate) max_connections: Option<NonZeroU32>,

    /// Size of a request's body, as in 16MiB; 413 beyond it [default: any]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_request_body: Option<Size>,

    /// Seconds that a client may take to send the head of a request
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds_from::<1>)]
    pub(crate) header_timeout: Duration,

    /// Format of the log on stderr; RUST_LOG chooses what is logged, `info` when unset
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Pretty)]
    pub(crate) log: LogFormat,

    /// Seconds that the upstream may take to answer, counted from when it has the request
    #[arg(long, value_name = "SECONDS", default_value = "30", hide = true, value_parser = seconds_from::<1>)]
    pub(crate) upstream_timeout: Duration,

    /// Seconds that running requests may take to finish once the server was told to stop
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
