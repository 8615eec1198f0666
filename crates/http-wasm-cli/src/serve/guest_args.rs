//! Flags for the settings of guests. The configuration file has these settings under the same names, and more.

use std::num::NonZeroU32;

use http_wasm_gateway::config::{Allowed, Backtraces, Bodies, Guest, Size, Stream, Time};
use http_wasm_tower::{OnFailure, Snapshot};

use crate::args::{GrantArgs, LintArgs, choice, parse_size, parse_time};

/// Limits of each guest, and what happens if it fails.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Settings of each guest")]
pub(crate) struct GuestArgs {
    #[command(flatten)]
    pub(crate) grants: GrantArgs,

    /// How long a guest may compute in one phase without waiting for the host
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    deadline: Time,

    /// How long one phase may take, including all waiting
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_time)]
    total: Time,

    /// How long creating an instance may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    startup_deadline: Time,

    /// Memory of one instance
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    memory_bytes: Size,

    /// Maximum size of a body that is kept because a guest has read it; above this, a request gets 413 and a response
    /// becomes a 502
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = parse_size)]
    replay_bytes: Size,

    /// Maximum size of a body that a guest writes
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = parse_size)]
    written_bytes: Size,

    /// Maximum number of log messages and lines of output of each guest per second
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    log_rate: u32,

    /// Idle instances that are created in advance and always kept
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    min_warm: u32,

    /// Maximum number of idle instances [default: unlimited]
    #[arg(long, value_name = "COUNT")]
    max_idle: Option<NonZeroU32>,

    /// How long an idle instance beyond --min-warm is kept
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_time)]
    idle_ttl: Time,

    /// What happens to a request if a guest fails: the client gets an error (closed), or the request continues as if
    /// the guest weren't there (open)
    #[arg(long, value_name = "POLICY", default_value = "closed", value_parser = choice::<OnFailure>())]
    on_failure: OnFailure,

    /// How guests get bodies with a content coding, such as gzip
    #[arg(long, value_name = "FORM", default_value = "as-received", value_parser = choice::<Bodies>())]
    bodies: Bodies,

    /// Which bodies guests may rewrite while they are sent
    #[arg(long, value_name = "BODIES", default_value = "off", value_parser = choice::<Stream>())]
    stream: Stream,

    /// Initialise each guest once for all its instances; `shared-seed` if all of them may share random bytes and times
    /// [default: off; without a value: on]
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "on",
        value_parser = choice::<Snapshot>())]
    snapshot: Option<Snapshot>,

    #[command(flatten)]
    lints: LintArgs,

    /// How much of a guest's stack the log shows if the guest fails
    #[arg(long, value_name = "DETAIL", default_value = "lines", value_parser = choice::<Backtraces>())]
    backtraces: Backtraces,

    /// Also load files written by `http-wasm compile`. They contain machine code, which runs without verification: use
    /// this only for files that nobody else can write to
    #[arg(long)]
    trust_precompiled: bool,
}

impl GuestArgs {
    /// Applies the flags to the settings of a guest.
    pub(crate) fn apply(&self, guest: &mut Guest) {
        let limits = &mut guest.limits;
        limits.deadline = self.deadline;
        limits.total = self.total;
        limits.startup_deadline = self.startup_deadline;
        limits.memory_bytes = self.memory_bytes;
        limits.replay_bytes = self.replay_bytes;
        limits.written_bytes = self.written_bytes;
        limits.log_rate = self.log_rate;
        guest.pool.min_warm = Some(self.min_warm.into());
        guest.pool.max_idle = self.max_idle.map(Into::into);
        guest.pool.idle_ttl = Some(self.idle_ttl);
        guest.on_failure = self.on_failure.into();
        guest.bodies = self.bodies;
        guest.stream = self.stream;
        guest.snapshot = self.snapshot.unwrap_or_default().into();
        guest.trust_precompiled = self.trust_precompiled;
        guest.allow = self.lints.allow.iter().copied().map(Allowed).collect();
        guest.strict = self.lints.strict;
        guest.backtraces = self.backtraces;
    }
}
