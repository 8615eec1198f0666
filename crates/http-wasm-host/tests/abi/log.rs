//! `log` and `log_enabled`.

use std::io;
use std::sync::{Arc, Mutex};

use http_wasm_host::{LOG_TARGET, Limits};
use tracing_subscriber::EnvFilter;

use crate::support::{Wat, get, number, stops};

/// Where a subscriber writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a subscriber with `filter` gets while the guest handles a request: one line of JSON per event.
fn logged(wat: Wat, filter: &str) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(move || writer.clone())
        .finish();
    let probe = wat.load();
    tracing::subscriber::with_default(subscriber, || drop(probe.respond(get())));
    let lines = lines.0.lock().unwrap();
    String::from_utf8(lines.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn messages_go_to_the_subscriber_with_level_target_and_guest() {
    for (level, name) in [(-1, "DEBUG"), (0, "INFO"), (1, "WARN"), (2, "ERROR")] {
        let lines = logged(stops(&format!("(call $log {level} \"hello\")")), "trace");
        let line = lines.iter().find(|line| line.contains(LOG_TARGET)).unwrap();
        for part in [name, "\"hello\"", "\"guest\":\"probe\""] {
            assert!(line.contains(part), "{line}");
        }
    }
}

#[test]
fn levels_that_are_none_or_unknown_go_nowhere_and_never_trap() {
    for level in ["3", "4", "-2", "100", "0x7fffffff", "0x80000000"] {
        let lines = logged(stops(&format!("(call $log {level} \"hello\")")), "trace");
        assert!(!lines.iter().any(|line| line.contains("hello")), "{lines:?}");
    }
}

#[test]
fn messages_below_the_subscribers_level_go_nowhere() {
    let calls = "(call $log -1 \"debug\") (call $log 0 \"info\") (call $log 1 \"warn\")";
    let lines = logged(stops(calls), "warn");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("\"warn\""));
}

#[test]
fn log_enabled_answers_what_the_subscriber_really_does() {
    let calls: String = ["-1", "0", "1", "2", "3", "4", "-2"]
        .map(|level| format!("(call $note (call $log_enabled {level}))"))
        .concat();
    for (filter, expected) in [
        ("debug", [1, 1, 1, 1, 0, 0, 0]),
        ("info", [0, 1, 1, 1, 0, 0, 0]),
        ("error", [0, 0, 0, 1, 0, 0, 0]),
        ("off", [0; 7]),
    ] {
        let probe = stops(&calls).load();
        let subscriber =
            tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(io::sink).finish();
        tracing::subscriber::with_default(subscriber, || drop(probe.respond(get())));
        assert_eq!(probe.notes(), expected.map(number), "{filter}");
    }
}

#[test]
fn a_filter_can_name_the_guests_target() {
    let calls = "(call $note (call $log_enabled -1))";
    let probe = stops(calls).load();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("off,{LOG_TARGET}=debug")))
        .with_writer(io::sink)
        .finish();
    tracing::subscriber::with_default(subscriber, || drop(probe.respond(get())));
    assert_eq!(probe.notes(), [number(1)]);
}

#[test]
fn a_message_forges_no_lines_and_need_not_be_utf_8() {
    let lines = logged(stops("(call $log 0 \"a\\0d\\0ab\\1b[31m\\ff\\00c\")"), "trace");
    let line = lines.iter().find(|line| line.contains(LOG_TARGET)).unwrap();
    assert!(!line.contains('\u{1b}') && line.contains('\u{fffd}'), "{line}");
    assert!(line.contains("a\\\\r\\\\nb"), "escaped, in JSON: {line}");
}

#[test]
fn a_long_message_is_cut_at_its_limit() {
    let limits = Limits { log_line_bytes: 100, ..Limits::default() };
    let lines = logged(stops("(memory.fill BUF 120 5000) (call $log 0 BUF 5000)").limits(limits), "trace");
    let line = lines.iter().find(|line| line.contains(LOG_TARGET)).unwrap();
    assert!(line.contains(&"x".repeat(100)) && !line.contains(&"x".repeat(101)), "{line}");
}

#[test]
fn an_empty_message_is_no_error() {
    logged(stops("(call $log 0 0 0) (call $log 0 -1 0)"), "trace");
}
