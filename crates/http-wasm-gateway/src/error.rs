//! Why a gateway couldn't start.

use std::io;

use http_wasm_tower::LoadError;
use thiserror::Error;

use crate::config::Faults;
use crate::error_text::plain;

/// Why the gateway couldn't start. No request was served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] Faults),
    /// Guests that the configuration needs can't be loaded, with a message for each.
    #[error("{}", .0.join("\n"))]
    Guests(Vec<String>),
    /// An address is in use or can't be listened on.
    #[error("cannot listen on {address}: {}", listen_advice(source))]
    Listen {
        /// The address as configured.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// Another system error.
    #[error("{0}")]
    System(String),
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Engine(_) => Self::System(error.to_string()),
            error => Self::Guests(vec![guest_fault(&error)]),
        }
    }
}

/// Why a guest can't be loaded, as a message.
pub(crate) fn guest_fault(error: &LoadError) -> String {
    match error {
        LoadError::Read { path, source } => format!("guest {}: {}", path.display(), plain(source)),
        error => error.to_string(),
    }
}

fn listen_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use; stop the process that listens on it, or choose another (port 0 selects any \
             free one)"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; ports below 1024 usually require privileges, so choose another \
             port"
                .to_owned()
        }
        _ => plain(error),
    }
}
