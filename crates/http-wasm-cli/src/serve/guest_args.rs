//! The settings of guests as they are typed. The configuration file has the same under the same names, and more.

use std::num::NonZeroU32;
use std::str::FromStr as _;

use clap::ValueEnum;
use http_wasm_gateway::config::{Allowed, Backtraces, Guest, OnFailure, Server, Size, Snapshot, Time};

use crate::args::{LintArgs, SnapshotMode, parse_size};

/// What each guest may use, and what becomes of its failures.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Settings of each guest")]
pub(crate) struct GuestArgs {
    /// Time that a guest may compute in one phase without waiting for the host
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    deadline: Time,

    /// Time that one phase may take with all its waiting
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_time)]
    total: Time,

    /// Time that making an instance may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    startup_deadline: Time,

    /// Memory of one instance
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    memory_bytes: Size,

    /// Memory of all guests' instances together; past it, requests that need another one get 503 with `Retry-After`
    /// [default: half of what the machine, or the process's control groups, have]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    guest_memory_budget: Option<Size>,

    /// Memory of all bodies together that guests have read or written, until they are delivered; past it, requests get
    /// 503 with `Retry-After` [default: a quarter of what the machine, or the process's control groups, have]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    body_memory_budget: Option<Size>,

    /// Bytes of one body kept because a guest read them; over it, 413 for a request and 502 for a response
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = parse_size)]
    replay_bytes: Size,

    /// Body bytes that a guest may write
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = parse_size)]
    written_bytes: Size,

    /// Log messages and lines of output of a guest that are logged in a second
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    log_rate: u32,

    /// Instances that are made ahead and kept
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    min_warm: u32,

    /// Idle instances that are kept at most [default: no limit]
    #[arg(long, value_name = "COUNT")]
    max_idle: Option<NonZeroU32>,

    /// How long an instance beyond those made ahead may be idle
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_time)]
    idle_ttl: Time,

    /// What becomes of a request when a guest fails on it: answered with an error, or as if the guest were not there
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = Policy::Closed)]
    on_failure: Policy,

    /// Initialise each guest once for all its instances; `shared-seed` when all of them may have the same random bytes
    /// and times from then [default: off; without a value: on]
    #[arg(long, value_enum, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "on")]
    snapshot: Option<SnapshotMode>,

    #[command(flatten)]
    lints: LintArgs,

    /// What the log shows of a guest's stack when it fails
    #[arg(long, value_enum, value_name = "DETAIL", default_value_t = BacktraceDetail::Lines)]
    backtraces: BacktraceDetail,

    /// Load files of `http-wasm compile` as well; they hold machine code, which is run as it is: only for files that
    /// nobody else can write to
    #[arg(long)]
    trust_precompiled: bool,
}

/// What becomes of a request when a guest fails on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// It is answered with an error
    Closed,
    /// It goes on as it came
    Open,
}

/// What the backtraces of a guest's failures contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BacktraceDetail {
    /// Functions, and source lines if the module carries debug information, which is kept in memory
    Lines,
    /// Functions, and offsets in the guest's file
    Functions,
    /// Nothing
    Off,
}

impl GuestArgs {
    /// Puts the settings into those of a guest.
    pub(crate) fn apply(&self, guest: &mut Guest) {
        let limits = &mut guest.limits;
        limits.deadline = self.deadline;
        limits.total = self.total;
        limits.startup_deadline = self.startup_deadline;
        limits.memory_bytes = self.memory_bytes;
        limits.replay_bytes = self.replay_bytes;
        limits.written_bytes = self.written_bytes;
        limits.log_rate = self.log_rate;
        guest.pool.min_warm = Some(self.min_warm);
        guest.pool.max_idle = self.max_idle;
        guest.pool.idle_ttl = Some(self.idle_ttl);
        guest.on_failure = match self.on_failure {
            Policy::Closed => OnFailure::Closed,
            Policy::Open => OnFailure::Open,
        };
        guest.snapshot = match self.snapshot {
            None => Snapshot::Off,
            Some(SnapshotMode::On) => Snapshot::On,
            Some(SnapshotMode::SharedSeed) => Snapshot::SharedSeed,
        };
        guest.trust_precompiled = self.trust_precompiled;
        guest.allow = self.lints.allow.iter().copied().map(Allowed).collect();
        guest.strict = self.lints.strict;
        guest.backtraces = match self.backtraces {
            BacktraceDetail::Lines => Backtraces::Lines,
            BacktraceDetail::Functions => Backtraces::Functions,
            BacktraceDetail::Off => Backtraces::Off,
        };
    }

    /// Puts what concerns all guests together into the server's settings.
    pub(crate) fn apply_to_server(&self, server: &mut Server) {
        server.guest_memory_budget = self.guest_memory_budget;
        server.body_memory_budget = self.body_memory_budget;
    }
}

fn parse_time(text: &str) -> Result<Time, String> {
    Time::from_str(text)
}
