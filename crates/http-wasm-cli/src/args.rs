//! The command line as it is typed. `config` makes sense of it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use http_wasm_gateway::config::{Address, Size};
use http_wasm_tck::guest::Variant;
use http_wasm_tck::run::LaunchCommand;
use http_wasm_tower::Mount;

use crate::config::{EnvVar, Upstream, parse_mount};
use crate::guest_args::GuestArgs;

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
    /// finish, and exit with 0. SIGUSR2 does so too once the same command, started again, serves on the same sockets. Sockets from systemd are
    /// taken where they fit.
    Serve(Box<ServeArgs>),
    /// Check a configuration file, or print its schema
    Config(ConfigArgs),
    /// Check a guest file: is it valid, what does it need, what is wrong with it
    Check(CheckArgs),
    /// Compile a guest file ahead, for servers that shall not compile it themselves
    ///
    /// The result holds machine code for processors like this machine's. `serve --trust-precompiled` loads it with the same version of this command;
    /// another version compiles the guest anew, as it is in the file too.
    Compile(CompileArgs),
    /// Measure what a guest costs, in process: each phase, its host calls, a new instance, requests per second
    ///
    /// Nothing goes over a network: requests are made in memory, and those that the guest passes on are answered with `hello
    /// world`. Nobody reads what the guest logs. The making of requests and the reading of the clock are taken off.
    Bench(BenchArgs),
    /// Test whether a host, ours or another, does what the http-wasm ABI says
    Tck(TckArgs),
}

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
    /// The path of a URL is put before that of each request. An http upstream gets the client's own Host header, an https
    /// upstream the URL's; the client's is in X-Forwarded-Host.
    #[arg(long, value_name = "echo|hello|URL")]
    pub(crate) upstream: Option<Upstream>,

    /// Requests that may be on their way to a response at once; further ones get 503 with `Retry-After`
    #[arg(long, value_name = "COUNT", default_value = "4096", value_parser = parse_count)]
    pub(crate) max_requests: NonZeroU32,

    #[command(flatten)]
    pub(crate) each_guest: GuestArgs,
    /// Connections at once; further ones wait until there is room
    #[arg(long, value_name = "COUNT", default_value = "16384", value_parser = parse_count)]
    pub(crate) max_connections: NonZeroU32,

    /// Size of a request's body, as in 16MiB; 413 beyond it [default: any]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_request_body: Option<Size>,

    /// Seconds that a client may take to send the head of a request
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = |text: &str| parse_seconds(text, 1))]
    pub(crate) header_timeout: Duration,

    /// Format of the log on stderr; RUST_LOG chooses what is logged, `info` when unset
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Pretty)]
    pub(crate) log: LogFormat,

    /// Seconds that the upstream may take to answer, counted from when it has the request
    #[arg(long, value_name = "SECONDS", default_value = "30", hide = true, value_parser = |text: &str| parse_seconds(text, 1))]
    pub(crate) upstream_timeout: Duration,

    /// Seconds that running requests may take to finish once the server was told to stop
    #[arg(long, value_name = "SECONDS", default_value = "30", hide = true, value_parser = |text: &str| parse_seconds(text, 0))]
    pub(crate) shutdown_timeout: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a configuration file, the files it names and its guests, without serving
    Check {
        /// Configuration to check
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the JSON schema of configuration files, for editors
    Schema,
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

    /// Say too whether the guest can be initialised once for all its instances, and if not, why; `shared-seed` when all of
    /// them may have the same random bytes and times from then [default: not asked; without a value: on]
    #[arg(long, value_enum, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(crate) snapshot: Option<SnapshotMode>,

    /// Print the report as JSON [default: as text]
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompileArgs {
    /// Guest to compile, a .wasm or .wat file
    #[arg(value_name = "FILE")]
    pub(crate) guest: PathBuf,

    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

/// What may be in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SnapshotMode {
    /// Nothing that should differ between instances
    On,
    /// Random bytes and times too
    SharedSeed,
}

impl From<SnapshotMode> for http_wasm_tower::Snapshot {
    fn from(mode: SnapshotMode) -> Self {
        match mode {
            SnapshotMode::On => Self::On,
            SnapshotMode::SharedSeed => Self::SharedSeed,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Guest to measure, a .wasm or .wat file
    #[arg(value_name = "FILE")]
    pub(crate) guest: PathBuf,

    /// Configuration handed to the guest: text, or @FILE for a file's bytes [default: empty]
    #[arg(long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    pub(crate) guest_config: Option<String>,

    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    /// Initialise the guest once for all its instances; `shared-seed` when all of them may have the same random bytes and
    /// times from then [default: off; without a value: on]
    #[arg(long, value_enum, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    pub(crate) snapshot: Option<SnapshotMode>,

    /// File with the request to send, as it stands in HTTP/1.1: head, empty line, body [default: GET / without a body]
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,

    /// Seconds that measuring may take, loading aside; a slow guest takes longer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) seconds: u64,

    /// Print the report as JSON [default: as text]
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TckArgs {
    #[command(subcommand)]
    pub(crate) command: TckCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TckCommand {
    /// Write the conformance guest, which the host under test shall load
    Guest(TckGuestArgs),
    /// Start the backend, to which the host under test shall forward
    Backend {
        /// Address to listen on, HOST:PORT; port 0 takes any free port
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
        listen: Address,
    },
    /// Run the cases against a host; exits with 0 when all pass, with 1 when some fail
    Run(TckRunArgs),
    /// List the cases
    List {
        /// Part of a case id, or a pattern with *
        #[arg(long, value_name = "PATTERN")]
        filter: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct TckGuestArgs {
    /// File to write; - for stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Variant of the guest; `conformance` is the one that most cases need
    #[arg(long, value_name = "NAME", default_value = "conformance")]
    pub(crate) variant: Variant,

    /// Write WebAssembly text
    #[arg(long)]
    pub(crate) wat: bool,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("target").required(true).multiple(true).args(["url", "launch", "own"]))]
pub(crate) struct TckRunArgs {
    /// Host under test, with the guest of `tck guest` loaded, and forwarding to `tck backend`
    #[arg(long, value_name = "URL", conflicts_with = "own")]
    pub(crate) url: Option<TckUrl>,

    /// Command that starts a host under test in the foreground, with {guest}, {config}, {backend} and {listen} where the two files, the
    /// backend's URL and the HOST:PORT to listen on shall be put; for the cases that need a host of their own
    #[arg(long, value_name = "COMMAND", conflicts_with = "own", value_parser = LaunchCommand::parse)]
    pub(crate) launch: Option<LaunchCommand>,

    /// Test this host
    #[arg(long = "self")]
    pub(crate) own: bool,

    /// Log file of started hosts [default: their stdout and stderr]
    #[arg(long, value_name = "FILE", conflicts_with = "own")]
    pub(crate) log_file: Option<PathBuf>,

    /// HTTP version to speak, 2 with prior knowledge
    #[arg(long, value_enum, value_name = "VERSION", default_value_t = TckHttp::One)]
    pub(crate) http: TckHttp,

    /// Part of a case id, or a pattern with * [default: all cases]
    #[arg(long, value_name = "PATTERN")]
    pub(crate) filter: Option<String>,

    /// Whose behaviour to expect where the reference host differs from the ABI and harms nobody
    #[arg(long, value_enum, value_name = "PROFILE", default_value_t = TckProfile::Abi)]
    pub(crate) profile: TckProfile,

    /// Seconds that the host may take to answer a request, 2 or more
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = |text: &str| parse_seconds(text, 2))]
    pub(crate) timeout: Duration,

    /// Print the outcomes as JSON [default: as a table]
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the outcomes to FILE in JUnit's XML as well
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

/// HTTP version spoken to the host under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TckHttp {
    /// HTTP/1.1
    #[value(name = "1.1", alias = "1")]
    One,
    /// HTTP/2
    #[value(name = "2")]
    Two,
}

impl From<TckHttp> for http_wasm_tck::case::Http {
    fn from(http: TckHttp) -> Self {
        match http {
            TckHttp::One => Self::One,
            TckHttp::Two => Self::Two,
        }
    }
}

/// Whose behaviour is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TckProfile {
    /// The ABI's
    Abi,
    /// The reference host's, where it differs and harms nobody
    Reference,
}

impl From<TckProfile> for http_wasm_tck::run::Profile {
    fn from(profile: TckProfile) -> Self {
        match profile {
            TckProfile::Abi => Self::Abi,
            TckProfile::Reference => Self::Reference,
        }
    }
}

/// Where the host under test listens: an http:// URL without path.
#[derive(Debug, Clone)]
pub(crate) struct TckUrl(pub(crate) String);

impl FromStr for TckUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("http://").ok_or("expected http://HOST:PORT")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
            return Err("expected http://HOST:PORT, without a path");
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self(if has_port { authority.to_owned() } else { format!("{authority}:80") }))
    }
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

fn parse_count(text: &str) -> Result<NonZeroU32, &'static str> {
    let count = text.parse().ok().filter(|count: &NonZeroU32| count.get() <= 1_000_000);
    count.ok_or("expected a number from 1 to 1000000")
}

fn parse_seconds(text: &str, least: u64) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (least..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| format!("expected a number from {least} to 86400"))
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
