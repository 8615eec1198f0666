//! The arguments of `http-wasm bench`.

use std::path::PathBuf;
use std::time::Duration;

use http_wasm_tower::Snapshot;

use crate::args::{ArgsError, GivenArgs, GuestSpec, choice, time_from};
use crate::exchange::SampleRequest;

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Guest to measure, a .wasm or .wat file
    #[arg(value_name = "FILE")]
    pub(crate) guest: PathBuf,

    #[command(flatten)]
    pub(crate) given: GivenArgs,

    /// Initialise the guest once for all its instances; `shared-seed` if all of them may share random bytes and times
    /// [default: off; without a value: on]
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "on",
        value_parser = choice::<Snapshot>())]
    pub(crate) snapshot: Option<Snapshot>,

    /// File with the request to send, in HTTP/1.1 format: head, empty line, body [default: GET / without a body]
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,

    /// How long measuring may take, excluding loading; a slow guest takes longer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time_from::<1>)]
    pub(crate) duration: Duration,

    /// Print the report as JSON [default: as text]
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to measure, and how.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) guest: GuestSpec,
    pub(crate) request: SampleRequest,
    /// How long all measurements may take.
    pub(crate) duration: Duration,
    pub(crate) json: bool,
}

impl Bench {
    /// Reads the files that the arguments name, except for the guest.
    ///
    /// # Errors
    /// If one of them can't be read, or the request can't be parsed.
    pub(super) fn resolve(args: BenchArgs) -> Result<Self, ArgsError> {
        let request = match args.request {
            None => SampleRequest::default(),
            Some(path) => {
                SampleRequest::read(&path).map_err(|reason| ArgsError::RequestFile { path, reason })?
            }
        };
        Ok(Self {
            guest: GuestSpec {
                snapshot: args.snapshot.unwrap_or_default(),
                ..args.given.resolve(args.guest)?
            },
            request,
            duration: args.duration,
            json: args.json,
        })
    }
}
