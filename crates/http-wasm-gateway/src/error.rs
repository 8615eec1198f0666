//! Why a gateway could not start.

use std::fmt;
use std::io;

use http_wasm_tower::LoadError;
use thiserror::Error;

use crate::config::Faults;
use crate::tls;

/// Why the gateway could not start. Nothing was served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Faults),
    /// Guests that the configuration needs can't be loaded; a message for each.
    #[error("{}", .0.join("\n"))]
    Guests(Vec<String>),
    /// An address is taken or can't be listened on.
    #[error("cannot listen on {address}: {}", listen_advice(source))]
    Listen {
        /// As it was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused something else.
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

/// Why a guest can't be loaded, in words.
pub(crate) fn guest_fault(error: &LoadError) -> String {
    match error {
        LoadError::Read { path, source } => format!("guest {}: {}", path.display(), plain(source)),
        error => error.to_string(),
    }
}

/// An I/O error in words, without the number that the standard library adds.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn listen_advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is taken; stop what listens there, or choose another (port 0 takes any free one)"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 usually need privileges, so choose another".to_owned()
        }
        _ => plain(error),
    }
}

/// An error with its causes, "a: b: c", and what to do about it where it has to do with certificates.
pub(crate) struct Causes<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        match tls::advice(self.0) {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}
