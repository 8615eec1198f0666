//! Output of a guest on its way to the log, line by line.

use std::sync::Arc;

use crate::log::Log;

/// A stream's unfinished line.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

/// Whose lines they are.
#[derive(Clone, Copy)]
pub(super) struct Speaker<'a> {
    pub(super) log: &'a Arc<Log>,
    /// "stdout" or "stderr".
    pub(super) stream: &'static str,
}

impl Speaker<'_> {
    fn say(self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // A blank line parts paragraphs on a terminal; in a log it says nothing.
        if !line.is_empty() {
            self.log.line(self.stream, line);
        }
    }
}

impl Lines {
    /// Logs the lines that `bytes` end, and keeps the beginning of the next.
    pub(super) fn write(&mut self, mut bytes: &[u8], speaker: Speaker<'_>) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let line = &bytes[..end];
            if self.partial.is_empty() {
                speaker.say(line);
            } else {
                self.keep(line, speaker.log.line_bytes);
                self.flush(speaker);
            }
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes, speaker.log.line_bytes);
    }

    /// Logs what has no end yet.
    #[inline]
    pub(super) fn flush(&mut self, speaker: Speaker<'_>) {
        if !self.partial.is_empty() {
            speaker.say(&self.partial);
            self.partial.clear();
        }
    }

    fn keep(&mut self, bytes: &[u8], limit: usize) {
        // One byte more than is logged, so that the log tells that there was more.
        let room = limit.saturating_add(1).saturating_sub(self.partial.len());
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::runtime::{Background, TokioRuntime};

    #[test]
    fn a_line_without_end_takes_bounded_memory() {
        let mut lines = Lines::default();
        let limits = Limits { log_line_bytes: 64, ..Limits::default() };
        let log = Log::new(Background::new(Box::new(TokioRuntime)), "g".into(), &limits);
        for _ in 0..100 {
            lines.write(&[b'x'; 1000], Speaker { log: &log, stream: "stdout" });
        }
        assert_eq!(lines.partial.len(), 65);
    }
}
