//! The arguments of `http-wasm run`.

use std::net::SocketAddr;
use std::path::PathBuf;

use http_wasm_tower::Limits;
use tracing_subscriber::filter::LevelFilter;

use crate::args::{ArgsError, GivenArgs, GuestSpec, LintArgs};
use crate::exchange::{CLIENT, ExchangeArgs, Next, SampleRequest};

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Guest to run, a .wasm or .wat file
    #[arg(value_name = "GUEST")]
    pub(crate) guest: PathBuf,

    #[command(flatten)]
    pub(crate) exchange: ExchangeArgs,

    /// Show each host call of the guest, and the other events of the exchange
    #[arg(long)]
    pub(crate) trace: bool,

    /// Print JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,

    /// Address of the client
    #[arg(long, value_name = "IP:PORT", default_value_t = CLIENT)]
    pub(crate) client: SocketAddr,

    /// Minimum level of guest log messages: off, error, warn, info or debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LevelFilter,

    #[command(flatten)]
    pub(crate) given: GivenArgs,

    #[command(flatten)]
    pub(crate) lints: LintArgs,
}

/// What to run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) guest: GuestSpec,
    pub(crate) request: SampleRequest,
    pub(crate) next: Next,
    pub(crate) client: SocketAddr,
    pub(crate) log_level: LevelFilter,
    pub(crate) trace: bool,
    pub(crate) json: bool,
}

impl Run {
    /// Reads the files that the arguments name, except for the guest.
    ///
    /// # Errors
    /// If one of them can't be read or has the wrong format.
    pub(super) fn resolve(args: RunArgs) -> Result<Self, ArgsError> {
        // A trace needs every line.
        let limits = Limits { log_rate: u32::MAX, ..Limits::default() };
        let guest = GuestSpec { lints: args.lints, limits, ..args.given.resolve(args.guest)? };
        let (request, next) = args.exchange.resolve()?;
        let RunArgs { client, log_level, trace, json, .. } = args;
        Ok(Self { guest, request, next, client, log_level, trace, json })
    }
}
