//! Exchanges as text.

use std::fmt::{self, Write as _};
use std::io::IsTerminal;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style};
use http::HeaderMap;
use http_wasm_tower::{CallResult, Error, Phase};

use super::entry::{Answer, CallEntry, Entry, EntryKind, Value};
use super::seen::{Content, SeenRequest, SeenResponse};
use crate::logging::escaped;

/// How many bytes of a value a trace shows.
const SHOWN: usize = 160;

/// How many bytes of a body are shown.
const SHOWN_BODY: usize = 16 * 1024;

/// The styles of text: colours on a terminal.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Paint {
    pub(crate) title: Style,
    pub(crate) name: Style,
    pub(crate) dim: Style,
    pub(crate) note: Style,
    pub(crate) bad: Style,
    pub(crate) good: Style,
}

impl Paint {
    /// Colours if `stream` is a terminal, and `NO_COLOR` isn't set.
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if !wanted || !stream.is_terminal() {
            return Self::default();
        }
        let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
        Self {
            title: Style::new().bold(),
            name: colour(AnsiColor::Cyan),
            dim: Style::new().dimmed(),
            note: colour(AnsiColor::Yellow),
            bad: colour(AnsiColor::Red),
            good: colour(AnsiColor::Green),
        }
    }
}

/// `text` in this style.
struct Styled<T>(Style, T);

impl<T: fmt::Display> fmt::Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.0.render(), self.1, self.0.render_reset())
    }
}

/// Writes a request as the next handler receives it.
pub(crate) fn print_request(out: &mut String, request: &SeenRequest, paint: Paint) {
    let SeenRequest { method, uri, version, content } = request;
    let line = format!("{method} {} {version}", sanitized(uri));
    print_message(out, &line, content, paint);
}

/// Writes a response as the client receives it.
pub(crate) fn print_response(out: &mut String, response: &SeenResponse, paint: Paint) {
    let reason = http::StatusCode::from_u16(response.status).ok();
    let reason = reason.and_then(|status| status.canonical_reason()).unwrap_or_default();
    let line = format!("{} {reason}", response.status);
    print_message(out, line.trim_end(), &response.content, paint);
}

// Writing to a string doesn't fail.
macro_rules! line {
    ($out:expr, $($format:tt)*) => {
        let _ = writeln!($out, $($format)*);
    };
}

fn print_message(out: &mut String, line: &str, content: &Content, paint: Paint) {
    line!(out, "{}", Styled(paint.title, line));
    print_fields(out, &content.headers, paint);
    if !content.body.is_empty() {
        line!(out, "");
        let shown = &content.body[..content.body.len().min(SHOWN_BODY)];
        let text = match std::str::from_utf8(shown) {
            Ok(text) if !text.contains(|c: char| c.is_control() && !"\n\r\t".contains(c)) => {
                escaped(text.strip_suffix('\n').unwrap_or(text)).into_owned()
            }
            _ => shown.escape_ascii().to_string(),
        };
        line!(out, "{text}");
        if shown.len() < content.body.len() {
            let all = content.body.len();
            line!(out, "{}", Styled(paint.dim, format_args!("… {all} bytes in total")));
        }
    }
    if !content.trailers.is_empty() {
        line!(out, "");
        print_fields(out, &content.trailers, paint);
    }
    if let Some(error) = &content.broken {
        line!(out, "{}", Styled(paint.bad, format_args!("the body ended prematurely: {error}")));
    }
}

fn print_fields(out: &mut String, fields: &HeaderMap, paint: Paint) {
    for (name, value) in fields {
        let value = value.as_bytes();
        let value = std::str::from_utf8(value).map_or_else(|_| value.escape_ascii().to_string(), sanitized);
        line!(out, "{}: {value}", Styled(paint.name, name));
    }
}

/// Writes the entries in order.
pub(crate) fn print_trace(out: &mut String, entries: &[Entry], paint: Paint) {
    for Entry { kind, note, .. } in entries {
        match kind {
            EntryKind::Created => {
                line!(out, "{}", Styled(paint.title, "start-up"));
            }
            EntryKind::Started { error: None } => {}
            EntryKind::Started { error: Some(error) } => {
                line!(out, "  {}", Styled(paint.bad, format_args!("failed: {}", sanitized(error))));
            }
            EntryKind::Entered { phase: Phase::Request, .. } => {
                line!(out, "{}", Styled(paint.title, "handle_request()"));
            }
            EntryKind::Entered { phase: Phase::Response, req_ctx, is_error } => {
                let title = format!("handle_response(req_ctx: {req_ctx}, is_error: {is_error})");
                line!(out, "{}", Styled(paint.title, title));
            }
            EntryKind::Call(call) => print_call(out, call, paint),
            EntryKind::Line { stream, text } => {
                line!(out, "  {} {}", Styled(paint.dim, format_args!("{stream}:")), sanitized(text));
            }
            EntryKind::Next => {
                line!(out, "{}", Styled(paint.title, "next handler"));
            }
            EntryKind::Answered { status: Some(status) } => {
                line!(out, "  = {status}");
            }
            EntryKind::Answered { status: None } => {
                line!(out, "  = {}", Styled(paint.bad, "no response"));
            }
            EntryKind::Returned { error: Some(error), took, .. } => {
                let error = indented(error);
                line!(
                    out,
                    "  {} {}",
                    Styled(paint.bad, format_args!("failed: {error}")),
                    dim_time(*took, paint)
                );
            }
            EntryKind::Returned { phase: Phase::Request, proceeds, req_ctx, took, .. } => {
                let decided = match proceeds {
                    true => format!("next 1, req_ctx {req_ctx}: the request proceeds"),
                    false => format!("next 0, req_ctx {req_ctx}: the guest responds itself"),
                };
                line!(out, "  = {decided} {}", dim_time(*took, paint));
            }
            EntryKind::Returned { took, .. } => {
                line!(out, "  = returned {}", dim_time(*took, paint));
            }
        }
        if let Some(note) = note {
            line!(out, "      {}", Styled(paint.note, format_args!("note: {note}")));
        }
    }
}

/// Writes why the guest failed, where in its code, and what it had written to stderr.
pub(crate) fn print_failure(out: &mut String, error: &Error, paint: Paint) {
    line!(out, "{}", Styled(paint.bad, indented(&error.to_string())));
    for line in error.backtrace().unwrap_or_default().lines() {
        line!(out, "  {}", Styled(paint.dim, sanitized(line)));
    }
    for line in error.stderr().unwrap_or_default().lines() {
        line!(out, "  {} {}", Styled(paint.dim, "stderr:"), sanitized(line));
    }
}

fn print_call(out: &mut String, call: &CallEntry, paint: Paint) {
    let mut text = format!("{}(", Styled(paint.name, call.function));
    for (at, (name, value)) in call.arguments.iter().enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        let _ = write!(text, "{separator}{name}: {value}");
    }
    text += ")";
    match (&call.result, &call.answer) {
        (CallResult::Trapped(reason), _) => {
            let _ = write!(text, " {}", Styled(paint.bad, format_args!("trapped: {}", sanitized(reason))));
        }
        (CallResult::Waits, _) => text += " waits",
        (CallResult::Returned(_), Some(answer)) => {
            let _ = write!(text, " = {answer}");
        }
        (CallResult::Returned(_), None) => {}
    }
    let mut facts = time(call.took);
    if call.bytes > 0 {
        let _ = write!(facts, ", {}", bytes(call.bytes));
    }
    if let Some(waited) = call.waited {
        let _ = write!(facts, ", waited {}", time(waited));
    }
    line!(out, "  {text} {}", Styled(paint.dim, format_args!("[{facts}]")));
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Bytes(bytes) => f.write_str(&quoted(bytes)),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word),
            Self::Value { bytes: Some(value), .. } => f.write_str(&quoted(value)),
            Self::Value { len, bytes: None } => write!(f, "{len}, the length of the value"),
            Self::Values { count: 0, .. } => f.write_str("none"),
            Self::Values { count, values: Some(values), .. } => {
                let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
                write!(f, "{count}: {}", values.join(", "))
            }
            Self::Values { count, len, values: None } => {
                write!(f, "{count}, {} in total", self::bytes(*len as usize))
            }
            Self::Body { eof, bytes } => {
                let end = if *eof { " and the end of the body" } else { ", more to come" };
                write!(f, "{}{end}: {}", self::bytes(bytes.len()), quoted(bytes))
            }
        }
    }
}

/// Bytes in quotes, with escapes. Long values are truncated.
fn quoted(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let more =
        if shown.len() < bytes.len() { format!("… ({})", self::bytes(bytes.len())) } else { String::new() };
    match std::str::from_utf8(shown) {
        Ok(text) => format!("{}{more}", escaped(&format!("{text:?}"))),
        Err(_) => format!("\"{}\"{more}", shown.escape_ascii()),
    }
}

/// Text without control characters.
fn sanitized(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    escaped(&text).into_owned()
}

/// Text of several lines, all but the first indented.
fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(sanitized).collect();
    lines.join("\n    ")
}

fn dim_time(took: Duration, paint: Paint) -> impl fmt::Display {
    Styled(paint.dim, format!("[{}]", time(took)))
}

/// A time in a suitable unit.
fn time(time: Duration) -> String {
    match time.as_nanos() {
        nanos @ 0..10_000 => format!("{nanos} ns"),
        nanos @ 10_000..10_000_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        nanos => format!("{:.1} ms", nanos as f64 / 1e6),
    }
}

fn bytes(count: usize) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}
