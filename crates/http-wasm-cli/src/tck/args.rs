//! The arguments of `http-wasm tck`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use http_wasm_gateway::config::Address;
use http_wasm_tck::guest::Variant;
use http_wasm_tck::run::LaunchCommand;

use crate::args::time_from;

#[derive(Debug, clap::Args)]
pub(crate) struct TckArgs {
    #[command(subcommand)]
    pub(crate) command: TckCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TckCommand {
    /// Write the conformance guest, which the host under test loads
    Guest(TckGuestArgs),
    /// Start the backend, to which the host under test forwards
    Backend {
        /// Address to listen on, HOST:PORT; port 0 selects any free port
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
        listen: Address,
    },
    /// Run the cases against a host; exits with 0 if all pass, with 1 if some fail
    Run(Box<TckRunArgs>),
    /// List the cases
    List {
        /// Part of a case ID, or a pattern with *
        #[arg(long, value_name = "PATTERN")]
        filter: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct TckGuestArgs {
    /// File to write; - for stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Variant of the guest; most cases need `conformance`
    #[arg(long, value_name = "NAME", default_value = "conformance")]
    pub(crate) variant: Variant,

    /// Write WebAssembly text
    #[arg(long)]
    pub(crate) wat: bool,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("target").required(true).multiple(true)
    .args(["url", "launch", "stream_url", "launch_stream", "decoded_url", "launch_decoded", "own"]))]
pub(crate) struct TckRunArgs {
    /// URL of the host under test, which has loaded the guest of `tck guest` and forwards to `tck backend`
    #[arg(long, value_name = "URL", conflicts_with = "own")]
    pub(crate) url: Option<TckUrl>,

    /// Command that starts a host under test in the foreground; {guest}, {config}, {backend} and {listen} are replaced
    /// with the two files, the backend's URL and the HOST:PORT to listen on. Enables the cases that need their own host
    #[arg(long, value_name = "COMMAND", conflicts_with = "own", value_parser = LaunchCommand::parse)]
    pub(crate) launch: Option<LaunchCommand>,

    /// URL of a host that lets guests write messages while they are sent, which has loaded the guest of `tck guest
    /// --variant stream` and forwards to `tck backend`. Enables the group `stream`
    #[arg(long, value_name = "URL", conflicts_with = "own")]
    pub(crate) stream_url: Option<TckUrl>,

    /// Command that starts such a host, as for --launch
    #[arg(long, value_name = "COMMAND", conflicts_with = "own", value_parser = LaunchCommand::parse)]
    pub(crate) launch_stream: Option<LaunchCommand>,

    /// URL of such a host that also hides the content coding of bodies from the guest. Enables the cases for that in
    /// the group `stream`
    #[arg(long, value_name = "URL", conflicts_with = "own")]
    pub(crate) decoded_url: Option<TckUrl>,

    /// Command that starts such a host, as for --launch
    #[arg(long, value_name = "COMMAND", conflicts_with = "own", value_parser = LaunchCommand::parse)]
    pub(crate) launch_decoded: Option<LaunchCommand>,

    /// Messages that these hosts let guests write; skips the cases for others
    #[arg(long, value_enum, value_name = "MESSAGES", default_value_t = TckStreams::Both)]
    pub(crate) streams: TckStreams,

    /// Test this host
    #[arg(long = "self")]
    pub(crate) own: bool,

    /// Conformance guest for started hosts, such as one built with a language's bindings; skips what it can't express
    /// [default: the kit's own]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) guest: Option<PathBuf>,

    /// Log file of started hosts [default: their stdout and stderr]
    #[arg(long, value_name = "FILE", conflicts_with = "own")]
    pub(crate) log_file: Option<PathBuf>,

    /// HTTP version to use; 2 is HTTP/2 with prior knowledge
    #[arg(long, value_enum, value_name = "VERSION", default_value_t = TckHttp::One)]
    pub(crate) http: TckHttp,

    /// Run only the cases whose ID contains this string, or matches this pattern with * [default: all cases]
    #[arg(long, value_name = "PATTERN")]
    pub(crate) filter: Option<String>,

    /// Whose behaviour to expect where the reference host differs harmlessly from the ABI
    #[arg(long, value_enum, value_name = "PROFILE", default_value_t = TckProfile::Abi)]
    pub(crate) profile: TckProfile,

    /// How long the host may take to respond to a request, at least 2s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time_from::<2>)]
    pub(crate) timeout: Duration,

    /// Print the results as JSON [default: as a table]
    #[arg(long)]
    pub(crate) json: bool,

    /// Also write the results to FILE in JUnit XML format
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

/// Which messages a host lets guests write while they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TckStreams {
    /// Requests
    Request,
    /// Responses
    Response,
    /// Both
    Both,
}

impl From<TckStreams> for http_wasm_tck::case::Streams {
    fn from(streams: TckStreams) -> Self {
        match streams {
            TckStreams::Request => Self::Request,
            TckStreams::Response => Self::Response,
            TckStreams::Both => Self::Both,
        }
    }
}

/// HTTP version used with the host under test.
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
    /// The reference host's, where it differs harmlessly
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

/// Where the host under test listens: an http:// URL without a path.
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
