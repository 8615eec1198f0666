//! Writing to stdout.

use std::io::{self, Write as _};

use crate::failure::{Failure, plain};

/// Writes `text` to stdout at once.
///
/// # Errors
/// If stdout can't be written to.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::Other(format!("cannot write to stdout: {}", plain(&error))))
}
