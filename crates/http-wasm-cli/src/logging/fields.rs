//! Fields of events in the pretty log.

use std::fmt;

use tracing_subscriber::field::{MakeVisitor as _, RecordFields, Visit, VisitFmt as _, VisitOutput as _};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, DefaultVisitor, Writer};

/// The field that consists of lines.
const BACKTRACE: &str = "backtrace";

/// Writes fields as usual, except for a backtrace, which is written on separate lines below.
#[derive(Debug)]
pub(super) struct BacktraceBelow;

impl<'writer> FormatFields<'writer> for BacktraceBelow {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Visitor { others: DefaultFields::new().make_visitor(writer), backtrace: None };
        fields.record(&mut visitor);
        if let Some(backtrace) = visitor.backtrace {
            write_below(visitor.others.writer(), &backtrace)?;
        }
        visitor.others.finish()
    }
}

/// Each line begins with spaces, unlike the line of an event.
fn write_below(out: &mut dyn fmt::Write, backtrace: &str) -> fmt::Result {
    for line in backtrace.lines() {
        out.write_str("\n  ")?;
        for c in line.chars() {
            if c.is_control() { write!(out, "{}", c.escape_default())? } else { out.write_char(c)? }
        }
    }
    Ok(())
}

struct Visitor<'a> {
    others: DefaultVisitor<'a>,
    backtrace: Option<String>,
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        if field.name() == BACKTRACE {
            self.backtrace = Some(value.to_owned());
        } else {
            self.others.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &tracing::field::Field, value: &(dyn std::error::Error + 'static)) {
        self.others.record_error(field, value);
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.others.record_debug(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_backtrace_is_written_on_separate_lines_below_the_event() {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt()
            .fmt_fields(BacktraceBelow)
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        // If there were only one subscriber, an event first emitted on a thread without any would be considered
        // disabled everywhere.
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        tracing::subscriber::with_default(lines, || {
            let backtrace = Some("   0: 0x1 - f\n      at a.c:1\u{1b}[0m");
            tracing::error!(target: "t", guest = "g", backtrace, n = 1, "it failed");
            tracing::error!(target: "t", other = "a\nb", "plain");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let expected = "ERROR t: it failed guest=\"g\" n=1\n     0: 0x1 - f\n        at a.c:1\\u{1b}[0m\n\
                        ERROR t: plain other=\"a\\nb\"\n";
        assert_eq!(written, expected);
    }
}
