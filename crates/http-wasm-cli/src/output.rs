//! Writing to stdout.

use std::io::{self, Write as _};

use crate::failure::{Failure, plain};

/// Writes `text` to stdout at once.
///
/// # Errors
/// [`Failure::StdoutClosed`] if nobody reads stdout any more, or another error if it can't be written to.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to stdout at once.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::StdoutClosed,
        _ => Failure::Other(format!("cannot write to stdout: {}", plain(&error))),
    })
}
