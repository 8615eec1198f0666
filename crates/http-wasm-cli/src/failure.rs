//! How the command fails: one message, one exit code.

use std::process::ExitCode;

use http_wasm_gateway::StartError;
use thiserror::Error;

use crate::args::ArgsError;

pub(crate) use http_wasm_gateway::plain;

/// Why the command failed. The text is the message on stderr.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The arguments can't be used.
    #[error(transparent)]
    Args(#[from] ArgsError),

    /// The gateway can't start.
    #[error(transparent)]
    Start(#[from] StartError),

    /// A host doesn't conform to the ABI.
    #[error("{failed} of {all} cases failed")]
    Cases { failed: usize, all: usize },

    /// The command isn't part of this build.
    #[error(
        "this build of http-wasm doesn't include `{command}`; build it with \
         `cargo build --release -p http-wasm-cli --features {feature}`"
    )]
    Absent { command: &'static str, feature: &'static str },

    /// The replay of guests differs from the recording.
    #[error("the replay of {failed} of {} differs from the recording", http_wasm_gateway::counted(*all, "guest"))]
    Replayed { failed: usize, all: usize },

    /// Nobody reads stdout any more, as after `| head`. The command ends without a message.
    #[error("stdout is closed")]
    StdoutClosed,

    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The exit code, from BSD's `sysexits.h` except for 2, which clap uses for invalid flags, and 141, with which a
    /// shell reports that SIGPIPE has ended a program.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Cases { .. } | Self::Replayed { .. } => 1,
            Self::Start(StartError::Config(faults)) if faults.are_in_guests() => 65,
            Self::Args(_) | Self::Absent { .. } | Self::Start(StartError::Config(_)) => 2,
            Self::Start(StartError::Guests(_)) => 65,
            Self::Start(StartError::Listen { .. }) => 69,
            Self::Start(_) | Self::Other(_) => 70,
            Self::StdoutClosed => 141,
        })
    }
}
