//! Why a guest can't be loaded.

use std::path::PathBuf;
use std::sync::Arc;

use super::Error;
use crate::abi::BodyKind;
use crate::fault::Fault;
use crate::warning::Warning;

/// The error when a guest can't be loaded. The message names the guest, what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file couldn't be read.
    #[error("cannot read guest {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes aren't a guest for this ABI.
    #[error("guest {guest} is not valid:{}", list(faults))]
    Invalid {
        /// The guest's name.
        guest: Arc<str>,
        /// All that was found wrong.
        faults: Vec<Fault>,
    },
    /// The module is invalid in a way that is found only when it is compiled.
    #[error("guest {guest} does not compile: {reason}")]
    Compile {
        /// The guest's name.
        guest: Arc<str>,
        /// What the compiler said.
        reason: String,
    },
    /// A directory, argument or environment variable can't be granted.
    #[error("guest {guest}: {reason}")]
    Grant {
        /// The guest's name.
        guest: Arc<str>,
        /// Which grant, and what is wrong with it.
        reason: String,
    },
    /// The guest can't be snapshotted; see [`Snapshot`](crate::Snapshot).
    #[error("guest {guest} can't be snapshotted: {reason}; load it without a snapshot")]
    Snapshot {
        /// The guest's name.
        guest: Arc<str>,
        /// What it has or did that can't be in a snapshot.
        reason: String,
        /// The guest's call stack when it did so, innermost first; `None` when the module itself is the reason.
        backtrace: Option<String>,
    },
    /// The file contains precompiled code that can't be used, or that isn't
    /// [trusted](crate::GuestBuilder::trust_precompiled).
    #[error("guest {guest} is precompiled: {reason}")]
    Precompiled {
        /// The guest's name.
        guest: Arc<str>,
        /// What is wrong, and what to do.
        reason: &'static str,
    },
    /// The configuration is longer than [`Limits::config_bytes`](crate::Limits).
    #[error(
        "guest {guest}: its configuration has {size} bytes, but the limit is {limit} bytes; shorten it, or \
         raise `config_bytes`"
    )]
    ConfigTooLarge {
        /// The guest's name.
        guest: Arc<str>,
        /// Size of the configuration, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The guest was built in such a way that it does nothing, or there are warnings about it and it is loaded with
    /// [`strict`](crate::GuestBuilder::strict).
    #[error("guest {guest} is refused:{}", refusals(warnings))]
    Refused {
        /// The guest's name.
        guest: Arc<str>,
        /// Why.
        warnings: Vec<Warning>,
    },
    /// The guest is to [stream](crate::Stream), but the server that it is loaded for can't send such a message while it
    /// is being written.
    #[error(
        "guest {guest}: this server can't send a {} while a guest is writing it; change the guest's `stream` setting",
        message.name()
    )]
    Stream {
        /// The guest's name.
        guest: Arc<str>,
        /// The message.
        message: BodyKind,
    },
    /// The first instance couldn't be created.
    #[error("failed to start: {}", with_calls(.0))]
    Start(Error),
    /// The engine couldn't be created on this machine.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
}

impl LoadError {
    /// The first instance could not be made. The error gets source lines: nothing waits for a guest that is loaded.
    pub(crate) fn start(mut error: Error) -> Self {
        error.locate();
        Self::Start(error)
    }
}

/// The error, and the guest's calls on the stack.
fn with_calls(error: &Error) -> String {
    error.backtrace().unwrap_or_default().lines().fold(error.to_string(), |text, line| text + "\n" + line)
}

fn refusals(warnings: &[Warning]) -> String {
    let line = |warning: &Warning| {
        let Warning { lint, .. } = warning;
        format!("\n  - {warning} (`{lint}`: `allow = [\"{lint}\"]` or `--allow {lint}` loads it anyway)")
    };
    warnings.iter().map(line).collect()
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  - {fault}")).collect()
}
