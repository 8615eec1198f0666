//! Why a server could not start.

use std::io;

use thiserror::Error;

/// Why the server could not start. Nothing was served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is taken or can't be listened on.
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
