//! Logs a guest's output line by line.

use std::collections::VecDeque;
use std::sync::Arc;

use tracing::Level;

use crate::log::Log;
use crate::text::printable;

/// A stream's incomplete line, and for stderr the output during the current call.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    excerpt: Excerpt,
}

/// The first lines, which often have the reason for a failure, and the last one.
#[derive(Default)]
struct Excerpt {
    first: Vec<Box<[u8]>>,
    last: VecDeque<Box<[u8]>>,
    left_out: bool,
}

const FIRST_LINES: usize = 2;
const LAST_LINES: usize = 6;
/// How many bytes of a line are kept.
const LINE_BYTES: usize = 200;

impl Excerpt {
    fn add(&mut self, line: &[u8]) {
        // One more byte shows that the line was longer.
        let line = line[..line.len().min(LINE_BYTES + 1)].into();
        if self.first.len() < FIRST_LINES {
            self.first.push(line);
            return;
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
            self.left_out = true;
        }
        self.last.push_back(line);
    }

    fn text(&self) -> Option<String> {
        let line = |line: &[u8]| printable(line, LINE_BYTES).to_string();
        let mut lines: Vec<String> = self.first.iter().map(|first| line(first)).collect();
        lines.extend(self.left_out.then(|| "…".to_owned()));
        lines.extend(self.last.iter().map(|last| line(last)));
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// The guest and stream of the lines.
#[derive(Clone, Copy)]
pub(super) struct LineSink<'a> {
    pub(super) log: &'a Arc<Log>,
    pub(super) stream: Stream,
}

/// The stream that a guest writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    fn level(self) -> Level {
        match self {
            Self::Stdout => Level::INFO,
            Self::Stderr => Level::WARN,
        }
    }
}

impl LineSink<'_> {
    fn say(self, line: &[u8], excerpt: &mut Excerpt) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // A blank line separates paragraphs on a terminal, but is useless in a log.
        if !line.is_empty() {
            self.log.line(self.stream.level(), self.stream.name(), line);
            if self.stream == Stream::Stderr {
                excerpt.add(line);
            }
        }
    }
}

impl Lines {
    /// Logs the lines that `bytes` complete, and keeps the rest.
    pub(super) fn write(&mut self, mut bytes: &[u8], speaker: LineSink<'_>) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let line = &bytes[..end];
            if self.partial.is_empty() {
                speaker.say(line, &mut self.excerpt);
            } else {
                self.keep(line, speaker.log.line_bytes);
                self.flush(speaker);
            }
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes, speaker.log.line_bytes);
    }

    /// Logs an incomplete line.
    #[inline]
    pub(super) fn flush(&mut self, speaker: LineSink<'_>) {
        if !self.partial.is_empty() {
            speaker.say(&self.partial, &mut self.excerpt);
            self.partial.clear();
        }
    }

    /// Discards the output of the previous call.
    #[inline]
    pub(super) fn begin(&mut self) {
        if !self.excerpt.first.is_empty() {
            self.excerpt = Excerpt::default();
        }
    }

    /// The output during this call, in a few lines.
    pub(super) fn excerpt(&self) -> Option<String> {
        self.excerpt.text()
    }

    fn keep(&mut self, bytes: &[u8], limit: usize) {
        // One byte more than is logged, so that the log shows that the line was longer.
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
    fn an_endless_line_takes_bounded_memory() {
        let mut lines = Lines::default();
        let limits = Limits { log_line_bytes: 64, ..Limits::default() };
        let log = Log::new(Background::new(Box::new(TokioRuntime)), "g".into(), &limits);
        for _ in 0..100 {
            lines.write(&[b'x'; 1000], LineSink { log: &log, stream: Stream::Stdout });
        }
        assert_eq!(lines.partial.len(), 65);
    }

    #[test]
    fn the_first_and_last_stderr_lines_are_kept_until_the_next_call() {
        let mut lines = Lines::default();
        let background = Background::new(Box::new(TokioRuntime));
        let log = Log::new(background, "g".into(), &Limits::default());
        for number in 0..1000 {
            let line = format!("{number}{}\n", "x".repeat(number));
            lines.write(line.as_bytes(), LineSink { log: &log, stream: Stream::Stderr });
        }
        let excerpt = lines.excerpt().unwrap();
        let excerpt: Vec<_> = excerpt.lines().collect();
        assert_eq!((excerpt.len(), &excerpt[..3]), (9, &["0", "1x", "…"][..]));
        assert!(excerpt[8].starts_with("999x") && excerpt[8].len() < 300, "{excerpt:?}");
        lines.begin();
        assert_eq!(lines.excerpt(), None);
    }
}
