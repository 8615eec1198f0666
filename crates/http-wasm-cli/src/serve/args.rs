//! The arguments of `http-wasm serve`.

use std::path::PathBuf;

use http_wasm_gateway::config::{Address, LogFormat};

use super::access_log::RequestLog;
use super::guest_args::GuestArgs;
use super::limit_args::LimitArgs;
use super::record_args::RecordArgs;
use super::upstream::Upstream;
use crate::args::choice;

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Configuration file; replaces all other options
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub(crate) config: Option<PathBuf>,

    /// Address to listen on, HOST:PORT; port 0 selects any free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: Address,

    /// Guest to run, a .wasm or .wat file, which is reloaded when it changes; repeat for a chain, outermost first
    /// [default: none, or a built-in example if --upstream isn't given either]
    #[arg(long = "guest", value_name = "FILE")]
    pub(crate) guests: Vec<PathBuf>,

    /// Configuration of a guest: text, or @FILE for the content of a file; the n-th is for the n-th --guest, '' skips
    /// one [default: empty]
    #[arg(long = "guest-config", value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) guest_configs: Vec<String>,

    /// Where requests go after the guests: an http:// or https:// URL, or a built-in backend: `echo` responds with the
    /// request as JSON, `hello` with `hello world` [default: echo]
    ///
    /// The path of the URL is prepended to that of each request. An http upstream gets the client's Host header; an
    /// https upstream gets the URL's host, and the client's host in X-Forwarded-Host.
    #[arg(long, value_name = "echo|hello|URL")]
    pub(crate) upstream: Option<Upstream>,

    /// Format of the log on stderr; RUST_LOG selects what is logged, `info` by default
    #[arg(long, value_name = "FORMAT", default_value = "pretty", value_parser = choice::<LogFormat>())]
    pub(crate) log: LogFormat,

    /// One line per request on stdout [default: combined if stdout is a terminal, otherwise off]
    #[arg(long, value_name = "FORMAT", value_parser = choice::<RequestLog>())]
    pub(crate) access_log: Option<RequestLog>,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    #[command(flatten)]
    pub(crate) record: RecordArgs,

    #[command(flatten)]
    pub(crate) each_guest: GuestArgs,
}
