//! `log` and `log_enabled`.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use std::time::Duration;

use http_wasm_host::{Engine, LOG_TARGET, Limits, Runtime, Task};
use tracing_subscriber::EnvFilter;

use crate::support::{Probe, Wat, block_on, get, guest, number, stops, with_subscriber};

/// The output of a subscriber.
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

/// What a subscriber with `filter` receives while the guest handles a request: one line of JSON per event.
fn logged(wat: Wat, filter: &str) -> Vec<String> {
    let probe = wat.load();
    logged_by(filter, || drop(probe.respond(get())))
}

/// What a subscriber with `filter` receives while `what` runs: one line of JSON per event.
pub(crate) fn logged_by(filter: &str, what: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(move || writer.clone())
        .finish();
    with_subscriber(subscriber, what);
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
fn messages_of_level_none_or_unknown_levels_are_dropped_without_a_trap() {
    for level in ["3", "4", "-2", "100", "0x7fffffff", "0x80000000"] {
        let lines = logged(stops(&format!("(call $log {level} \"hello\")")), "trace");
        assert!(!lines.iter().any(|line| line.contains("hello")), "{lines:?}");
    }
}

#[test]
fn calls_without_effect_are_logged_at_debug_level() {
    for (calls, part) in [
        ("(call $set_header_value 0 \"Connection\" \"close\")", "setting `Connection` has no effect"),
        (
            "(call $add_header_value 1 \"transfer-encoding\" \"chunked\")",
            "setting `transfer-encoding` has no effect",
        ),
    ] {
        let lines = logged(stops(calls), "debug");
        let line = lines.iter().find(|line| line.contains(LOG_TARGET)).unwrap();
        assert!(line.contains(part) && line.contains("DEBUG"), "{line}");
    }
    // A length of zero requests an empty body.
    let lines = logged(stops("(call $set_header_value 1 \"content-length\" \"0\")"), "debug");
    assert!(!lines.iter().any(|line| line.contains(LOG_TARGET)), "{lines:?}");
    let late = guest().on_response("(drop (call $enable_features 2))").load();
    let lines = logged_by("debug", || drop(late.run(get(), |_| {})));
    assert!(
        lines.iter().any(|line| line.contains("enabling features in handle_response has no effect")),
        "{lines:?}"
    );
}

#[test]
fn messages_below_the_subscribers_level_are_dropped() {
    let calls = "(call $log -1 \"debug\") (call $log 0 \"info\") (call $log 1 \"warn\")";
    let lines = logged(stops(calls), "warn");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("\"warn\""));
}

#[test]
fn log_enabled_returns_the_subscribers_actual_setting() {
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
        with_subscriber(subscriber, || drop(probe.respond(get())));
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
    with_subscriber(subscriber, || drop(probe.respond(get())));
    assert_eq!(probe.notes(), [number(1)]);
}

#[test]
fn line_breaks_in_messages_are_escaped_and_invalid_utf_8_is_replaced() {
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
fn an_empty_message_is_accepted() {
    logged(stops("(call $log 0 0 0) (call $log 0 -1 0)"), "trace");
}

/// An executor that runs tasks and ends sleeps when the test says so.
#[derive(Clone, Default)]
struct ByTest {
    tasks: Arc<Mutex<Vec<Task>>>,
    over: Arc<AtomicBool>,
}

impl ByTest {
    fn run(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        self.over.store(true, Ordering::Relaxed);
        tasks.into_iter().for_each(block_on);
        self.over.store(false, Ordering::Relaxed);
    }
}

impl Runtime for ByTest {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        self.tasks.lock().unwrap().push(task);
        Ok(())
    }

    fn sleep(&self, _: Duration) -> Option<Task> {
        let over = self.over.clone();
        let poll = move |_: &mut Context<'_>| match over.load(Ordering::Relaxed) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        };
        Some(Box::pin(std::future::poll_fn(poll)))
    }
}

/// A guest that logs 10,000 messages per request and may log 5 a second.
fn flooding(runtime: &ByTest) -> Probe<http_wasm_host::InMemoryHost> {
    let wat = guest()
        .limits(Limits { log_rate: 5, deadline: Duration::from_secs(60), ..Limits::default() })
        .item("(global $n (mut i32) (i32.const 0))")
        .on_response(
            "(global.set $n 10000)
             (loop $next
               (call $log 0 \"flood\")
               (global.set $n (i32.sub (global.get $n) 1))
               (br_if $next (global.get $n)))",
        );
    let engine = Engine::builder().runtime(runtime.clone()).build().unwrap();
    Probe::new(wat.builder(&engine).load(wat.text().as_bytes()).unwrap())
}

/// The numbers of messages that were logged, of messages that were reported as suppressed, and of such reports.
fn counted(lines: &[String]) -> (usize, usize, usize) {
    let flood = lines.iter().filter(|line| line.contains("\"flood\"")).count();
    let reports: Vec<usize> = lines
        .iter()
        .filter_map(|line| line.split_once("\"suppressed\":")?.1.split(',').next()?.parse().ok())
        .collect();
    (flood, reports.iter().sum(), reports.len())
}

#[test]
fn all_instances_of_a_guest_share_a_log_rate_and_the_excess_is_reported_in_one_line() {
    let runtime = ByTest::default();
    let probe = flooding(&runtime);
    let lines = logged_by("info", || {
        let open = [probe.next(get()), probe.next(get())];
        open.into_iter().for_each(|pinned| drop(block_on(pinned.handle_response()).unwrap()));
        assert_eq!(runtime.tasks.lock().unwrap().len(), 1, "one report is under way");
        runtime.run();
    });
    let (flood, suppressed, reports) = counted(&lines);
    assert_eq!((flood + suppressed, reports), (20_000, 1), "{flood} logged");
    assert!((5..1000).contains(&flood), "{flood}");
    // The next flood is reported separately.
    let lines = logged_by("info", || {
        probe.run(get(), |_| {});
        runtime.run();
    });
    let (flood, suppressed, reports) = counted(&lines);
    assert_eq!((flood + suppressed, reports), (10_000, 1));
}

#[test]
fn suppressed_messages_are_reported_when_the_guest_is_dropped_early() {
    let runtime = ByTest::default();
    let lines = logged_by("info", || {
        let probe = flooding(&runtime);
        probe.run(get(), |_| {});
        // An executor drops its tasks when it shuts down.
        runtime.tasks.lock().unwrap().clear();
        drop(probe);
    });
    let (flood, suppressed, reports) = counted(&lines);
    assert_eq!((flood + suppressed, reports), (10_000, 1));
}

#[test]
fn a_rate_of_zero_logs_nothing_of_the_guest() {
    let limits = Limits { log_rate: 0, ..Limits::default() };
    let lines = logged(stops("(call $log 2 \"hello\")").limits(limits), "info");
    assert!(!lines.iter().any(|line| line.contains("hello")), "{lines:?}");
}
