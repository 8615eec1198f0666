//! The log, on stderr, so that stdout contains only the documented output.

mod fields;
mod progress;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use http_wasm_gateway::GuestLogLayer;
use http_wasm_gateway::config::{Log, LogFormat};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use self::fields::BacktraceBelow;
use self::progress::Progress;
use crate::args::ArgsError;

/// The compiler's targets, which log thousands of lines about a guest at lower levels.
const QUIET: &str = "cranelift_codegen=warn,cranelift_frontend=warn,regalloc2=warn,wasmtime=info,\
     wasmtime_cranelift=warn,wasmtime_environ=warn,wasmtime_internal_cranelift=warn,wasmtime_internal_cache=warn";

/// Sets up the process's log. The filter is `RUST_LOG`, or else that of the configuration, or else `info`.
///
/// # Errors
/// If the filter can't be parsed: better to report that now than when the log is needed.
pub(crate) fn init(log: &Log) -> Result<(), ArgsError> {
    let (name, filter) = match (std::env::var("RUST_LOG"), &log.filter) {
        (Err(_), Some(filter)) => ("log.filter", filter.value.clone()),
        (from_env, _) => ("RUST_LOG", from_env.unwrap_or_default()),
    };
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(without_compiler(filter))
        .map_err(|error| ArgsError::LogFilter { name, reason: error.to_string() })?;
    let lines = tracing_subscriber::fmt::layer();
    let (lines, progress) = match log.format {
        LogFormat::Pretty if io::stderr().is_terminal() => {
            let progress = Progress::new(io::stderr());
            let writer = progress.clone();
            let lines = lines.with_writer(move || Escaping(writer.clone())).fmt_fields(BacktraceBelow);
            // Events that are shown as progress don't need log lines.
            let others = FilterFn::new(|metadata| !progress::is_progress(metadata.target()));
            (lines.with_ansi(true).with_filter(others).boxed(), Some(progress))
        }
        LogFormat::Pretty => {
            let lines = lines.with_writer(|| Escaping(io::stderr())).fmt_fields(BacktraceBelow);
            (lines.with_ansi(false).boxed(), None)
        }
        LogFormat::Json => (lines.with_writer(|| Escaping(io::stderr())).json().boxed(), None),
    };
    let layers = tracing_subscriber::registry().with(lines).with(GuestLogLayer::default());
    layers.with(progress).with(filter).init();
    Ok(())
}

/// What `check` and `compile` log: the guest's messages during start-up, and notices that loading is slow.
const CHECK_FILTER: &str = "off,http_wasm::guest=info,http_wasm_host::load::slow=info";

/// Sets up the log for a command that loads a guest to report on it.
///
/// # Errors
/// As for [`init`].
pub(crate) fn init_for_check() -> Result<(), ArgsError> {
    init(&Log { format: LogFormat::Pretty, filter: Some(CHECK_FILTER.to_owned().into()) })
}

/// The same filter without the compiler's messages at low levels, unless the compiler is named.
fn without_compiler(filter: String) -> String {
    let lower = filter.to_ascii_lowercase();
    if !lower.contains("debug") && !lower.contains("trace") {
        return filter;
    }
    // A directive for a target overrides a global one, and a later directive overrides an earlier one for the same
    // target.
    format!("{QUIET},{filter}")
}

/// Escapes characters that would look like the end of a line to a reader, or reverse its text. The log may quote
/// guests, clients and upstreams. ASCII control characters have already been escaped.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    /// Called with whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(escaped(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The same text with such characters escaped, in a form that is valid in JSON.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !text.contains(is_misleading) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_misleading(character) {
            // Writing to a string doesn't fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped.into()
}

/// Control characters of ISO 8859, line and paragraph separators, and marks of writing direction.
fn is_misleading(character: char) -> bool {
    matches!(
        character,
        '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{Escaping, escaped, without_compiler};

    #[test]
    fn compiler_messages_below_info_are_logged_only_if_the_filter_names_the_compiler() {
        for plain in ["", "off", "info", "http_wasm_gateway=info"] {
            assert_eq!(without_compiler(plain.to_owned()), plain);
        }
        let level = |filter: &str| {
            let filter = EnvFilter::builder().parse(without_compiler(filter.to_owned())).unwrap();
            let subscriber = tracing_subscriber::registry().with(filter);
            tracing::subscriber::with_default(subscriber, || {
                [
                    tracing::enabled!(target: "cranelift_codegen::isa", tracing::Level::DEBUG),
                    tracing::enabled!(target: "http_wasm_gateway", tracing::Level::DEBUG),
                ]
            })
        };
        assert_eq!(level("debug"), [false, true]);
        assert_eq!(level("debug,cranelift_codegen=trace"), [true, true]);
    }

    #[test]
    fn line_separators_and_bidirectional_controls_are_escaped() {
        for (text, expected) in [
            ("plain\n", "plain\n"),
            ("Grüße, 世界 🦀\n", "Grüße, 世界 🦀\n"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a\\u2028b\\u2029c\\u0085d"),
            ("a\u{202e}b\u{2066}c\u{9b}31m", "a\\u202eb\\u2066c\\u009b31m"),
        ] {
            assert_eq!(escaped(text), expected);
            let mut written = Vec::new();
            Escaping(&mut written).write_all(text.as_bytes()).unwrap();
            assert_eq!(written, expected.as_bytes());
        }
        let json = serde_json::to_string("a\u{2028}b\u{85}c").unwrap();
        assert_eq!(serde_json::from_str::<String>(&escaped(&json)).unwrap(), "a\u{2028}b\u{85}c");
    }
}
