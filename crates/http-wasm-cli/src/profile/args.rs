//! The arguments of `http-wasm profile`.

use std::path::PathBuf;
use std::time::Duration;

use crate::args::{ArgsError, GivenArgs, GuestSpec, LintArgs, time_from};
use crate::exchange::{ExchangeArgs, Next, SampleRequest};

#[derive(Debug, clap::Args)]
pub(crate) struct ProfileArgs {
    /// Guest to profile, a .wasm or .wat file
    #[arg(value_name = "GUEST")]
    pub(crate) guest: PathBuf,

    #[command(flatten)]
    pub(crate) exchange: ExchangeArgs,

    /// How long to repeat the request
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time_from::<1>)]
    pub(crate) duration: Duration,

    /// Directory for the files NAME.folded and NAME.svg, where NAME is the guest's
    #[arg(short = 'o', long, value_name = "DIRECTORY", default_value = ".")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) given: GivenArgs,

    #[command(flatten)]
    pub(crate) lints: LintArgs,
}

/// What to profile.
pub(super) struct Profile {
    pub(super) guest: GuestSpec,
    pub(super) request: SampleRequest,
    pub(super) next: Next,
    pub(super) duration: Duration,
    pub(super) output: PathBuf,
}

impl Profile {
    /// Reads the files that the arguments name, except for the guest.
    ///
    /// # Errors
    /// If one of them can't be read or has the wrong format.
    pub(super) fn resolve(args: ProfileArgs) -> Result<Self, ArgsError> {
        let guest = GuestSpec { lints: args.lints, ..args.given.resolve(args.guest)? };
        let (request, next) = args.exchange.resolve()?;
        Ok(Self { guest, request, next, duration: args.duration, output: args.output })
    }
}
