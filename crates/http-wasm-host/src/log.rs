//! Where guests' words go: `tracing`, under one target, with the guest's name.

use tracing::Level;

use crate::text::printable;

/// The `tracing` target of all that guests say.
pub const TARGET: &str = "http_wasm::guest";

/// `tracing` fixes an event's level where it stands in the code, so a level that is a value needs one event each.
macro_rules! by_level {
    ($level:expr, $event:ident) => {
        match $level {
            Level::ERROR => $event!(Level::ERROR),
            Level::WARN => $event!(Level::WARN),
            Level::INFO => $event!(Level::INFO),
            Level::DEBUG => $event!(Level::DEBUG),
            Level::TRACE => $event!(Level::TRACE),
        }
    };
}

/// Whether the subscriber wants what guests say at `level`.
pub(crate) fn enabled(level: Level) -> bool {
    macro_rules! ask {
        ($level:expr) => {
            tracing::enabled!(target: TARGET, $level)
        };
    }
    by_level!(level, ask)
}

/// A message given to `log`.
pub(crate) fn message(guest: &str, level: Level, message: &[u8], limit: usize) {
    macro_rules! say {
        ($level:expr) => {
            tracing::event!(target: TARGET, $level, guest, "{}", printable(message, limit))
        };
    }
    by_level!(level, say);
}

/// A line that a guest wrote to `stream`, "stdout" or "stderr".
pub(crate) fn line(guest: &str, stream: &'static str, line: &[u8], limit: usize) {
    tracing::event!(target: TARGET, Level::INFO, guest, stream, "{}", printable(line, limit));
}
