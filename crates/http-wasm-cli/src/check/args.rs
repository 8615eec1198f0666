//! The arguments of `http-wasm check`.

use std::path::PathBuf;

use http_wasm_gateway::config::Size;
use http_wasm_tower::{Limits, Snapshot};

use crate::args::{ArgsError, GivenArgs, GuestSpec, LintArgs, choice, parse_size};

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Guest to check, a .wasm or .wat file
    #[arg(value_name = "FILE")]
    pub(crate) guest: PathBuf,

    #[command(flatten)]
    pub(crate) given: GivenArgs,

    #[command(flatten)]
    pub(crate) lints: LintArgs,

    /// Memory of one instance
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    pub(crate) memory_bytes: Size,

    /// Also report whether the guest can be initialised once for all its instances and, if not, why; `shared-seed` if
    /// all of them may share random bytes and times [default: off; without a value: on]
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "on",
        value_parser = choice::<Snapshot>())]
    pub(crate) snapshot: Option<Snapshot>,

    /// Print the report as JSON [default: as text]
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to check.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) guest: GuestSpec,
    /// The snapshot to try, if one is requested.
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) json: bool,
}

impl Check {
    /// Reads the files that the arguments name, except for the guest.
    ///
    /// # Errors
    /// If one of them can't be read.
    pub(super) fn resolve(args: CheckArgs) -> Result<Self, ArgsError> {
        let limits = Limits { memory_bytes: args.memory_bytes.bytes(), ..Limits::default() };
        let guest = GuestSpec { lints: args.lints, limits, ..args.given.resolve(args.guest)? };
        Ok(Self { guest, snapshot: args.snapshot.filter(|mode| *mode != Snapshot::Off), json: args.json })
    }
}
