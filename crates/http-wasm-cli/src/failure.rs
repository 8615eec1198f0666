//! How the command fails: one message, one exit code.

use std::io;
use std::process::ExitCode;

use thiserror::Error;

use crate::config::{ConfigError, Listen};

/// Why the command could not do its job. Its text is the message on stderr.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The command line can't be followed.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// A guest can't be read, is no valid guest, or doesn't start.
    #[error("{0}")]
    Guest(String),

    /// The address is taken or can't be listened on.
    #[error("cannot listen on {address}: {}", listen_advice(source))]
    Listen { address: Listen, source: io::Error },

    /// A host doesn't do what the ABI says.
    #[error("{failed} of {all} cases failed")]
    Cases { failed: usize, all: usize },

    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The exit code, after BSD's `sysexits.h` but for 2, which is what clap exits with on a bad flag.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Cases { .. } => 1,
            Self::Config(_) => 2,
            Self::Guest(_) => 65,
            Self::Listen { .. } => 69,
            Self::Other(_) => 70,
        })
    }
}

/// An I/O error in words, without the number that the standard library adds.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn listen_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is taken; stop what listens there, or choose another with --listen (port 0 takes any free one)"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 usually need privileges, choose another with --listen".to_owned()
        }
        _ => plain(error),
    }
}
