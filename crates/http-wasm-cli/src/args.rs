//! The command line as it is typed. `config` makes sense of it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use http_wasm_tower::Mount;

use crate::config::{EnvVar, Listen, Upstream, parse_mount};

/// Runs http-wasm guests: HTTP handlers compiled to WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "http-wasm", version, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: CommandArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CommandArgs {
    /// Serve guests in front of a backend
    ///
    /// HTTP/1.1 and HTTP/2 (prior knowledge) share one port. SIGINT and SIGTERM stop accepting, let what runs
    /// finish, and exit with 0.
    Serve(ServeArgs),
    /// Check a guest file: is it valid, what does it need, what is wrong with it
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on, HOST:PORT; port 0 takes any free port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) listen: Listen,

    /// Guest to run, a .wasm or .wat file; repeat for a chain, the first is outermost [default: an embedded example]
    #[arg(long = "guest", value_name = "FILE")]
    pub(crate) guests: Vec<PathBuf>,

    /// Configuration handed to a guest: text, or @FILE for a file's bytes; the n-th belongs to the n-th --guest, ''
    /// leaves one out [default: empty]
    #[arg(long = "guest-config", value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) guest_configs: Vec<String>,

    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    /// What stands behind the guests: `echo` answers the request as JSON, `hello` answers `hello world`, an http:// or
    /// https:// URL proxies there
    ///
    /// The path of a URL is put before that of each request. An http upstream gets the client's own Host header, an https
    /// upstream the URL's; the client's is in X-Forwarded-Host.
    #[arg(long, value_name = "echo|hello|URL", default_value = "echo")]
    pub(crate) upstream: Upstream,

    /// Format of the log on stderr; RUST_LOG chooses what is logged, `info` when unset
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Pretty)]
    pub(crate) log: LogFormat,

    /// Seconds that the upstream may take to answer, counted from when it has the request
    #[arg(long, value_name = "SECONDS", default_value_t = 30, hide = true, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) upstream_timeout: u64,

    /// Seconds that running requests may take to finish once the server was told to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 30, hide = true, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) shutdown_timeout: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Guest to check, a .wasm or .wat file
    #[arg(value_name = "FILE")]
    pub(crate) guest: PathBuf,

    /// Configuration handed to the guest: text, or @FILE for a file's bytes [default: empty]
    #[arg(long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) guest_config: Option<String>,

    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    /// Print the report as JSON [default: as text]
    #[arg(long)]
    pub(crate) json: bool,
}

/// What guests may see of the machine.
#[derive(Debug, clap::Args)]
pub(crate) struct GrantArgs {
    /// Environment variable that guests see; repeatable [default: none]
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<EnvVar>,

    /// Directory that guests may open, as GUEST inside (HOST when left out), read-only with :ro; repeatable [default: none]
    #[arg(long = "mount", value_name = "HOST[:GUEST][:ro]", value_parser = parse_mount)]
    pub(crate) mounts: Vec<Mount>,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line per event, for people
    Pretty,
    /// One JSON object per event
    Json,
}
