//! Guests that can be loaded but were built incorrectly: refused, or loaded with a warning.

use std::sync::{Arc, Mutex};

use http_wasm_host::{Guest, GuestBuilder, InMemoryHost, LOG_TARGET, Lint, LoadError, Mount, Snapshot};
use tracing::Level;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::support::{block_on, engine, get, guest, with_subscriber};

/// Responds with 403 once its `main` has run, which is exported by `export`. When the handler runs, it writes a line.
fn denies(export: &str) -> String {
    format!(
        r#"(module
        (import "http_handler" "set_status_code" (func $status (param i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (table 2 funcref) (elem (i32.const 1) $deny) (type $t (func))
        (data (i32.const 16) "\20\00\00\00\02\00\00\00") (data (i32.const 32) "x\n")
        (func $deny (call $status (i32.const 403)))
        (func {export} (i32.store (i32.const 0) (i32.const 1)))
        (func (export "handle_request") (result i64)
          (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))
          (if (result i64) (i32.load (i32.const 0))
            (then (call_indirect (type $t) (i32.load (i32.const 0))) (i64.const 0))
            (else (i64.const 1))))
        (func (export "handle_response") (param i32 i32)))"#
    )
}

fn builder() -> GuestBuilder {
    Guest::<InMemoryHost>::builder(engine()).name("auth")
}

#[track_caller]
fn refused(loaded: Result<Guest<InMemoryHost>, LoadError>) -> String {
    match loaded {
        Err(error @ LoadError::Refused { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was loaded"),
    }
}

#[test]
fn a_guest_whose_main_never_runs_is_refused_with_advice() {
    let message = refused(builder().load(denies(r#"$main (export "main")"#).as_bytes()));
    for part in [
        "guest auth is refused:",
        "the guest does nothing",
        "`main`",
        "_initialize",
        "`allow = [\"unregistered\"]`",
        "`--allow unregistered`",
    ] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn a_guest_whose_main_never_runs_is_loaded_if_the_lint_is_allowed() {
    let builder = builder().allow(Lint::Unregistered);
    let guest = builder.load::<InMemoryHost>(denies(r#"$main (export "main")"#).as_bytes()).unwrap();
    assert_eq!(guest.facts().warnings, []);
}

#[test]
fn a_guest_whose_start_code_is_called_is_loaded_without_a_warning() {
    for export in [r#"$main (export "_start")"#, r#"(export "_initialize")"#] {
        let guest = builder().strict(true).load::<InMemoryHost>(denies(export).as_bytes()).unwrap();
        assert_eq!(guest.facts().warnings, []);
        let outcome = block_on(guest.handle_request(get())).unwrap();
        assert!(matches!(outcome, http_wasm_host::Outcome::Respond(host) if host.status == 403));
    }
}

#[test]
fn a_guest_with_mounts_gets_a_warning_without_a_trial_run() {
    let directory = tempfile::tempdir().unwrap();
    let mount = Mount::read_only(directory.path(), "/data");
    let guest = builder().mount(mount).load::<InMemoryHost>(denies(r#"$main (export "main")"#).as_bytes());
    let warnings = guest.unwrap().facts().warnings.clone();
    assert_eq!(warnings.iter().map(|warning| warning.lint).collect::<Vec<_>>(), [Lint::Unregistered]);
    assert!(warnings[0].to_string().contains("is never called"), "{}", warnings[0]);
}

#[test]
fn a_guest_whose_main_never_runs_is_refused_with_a_snapshot_as_well() {
    refused(builder().snapshot(Snapshot::On).load(denies(r#"$main (export "main")"#).as_bytes()));
}

#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for LogLines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Text<'a>(&'a mut String);
        impl tracing::field::Visit for Text<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                *self.0 += &format!("{}={value:?} ", field.name());
            }
        }
        let metadata = event.metadata();
        if *metadata.level() == Level::WARN || metadata.target() == LOG_TARGET {
            let mut text = format!("{} ", metadata.level());
            event.record(&mut Text(&mut text));
            self.0.lock().unwrap().push(text);
        }
    }
}

fn logged(what: impl FnOnce()) -> Vec<String> {
    let logged = LogLines::default();
    with_subscriber(tracing_subscriber::registry().with(logged.clone()), what);
    logged.0.lock().unwrap().clone()
}

#[test]
fn log_messages_of_a_trial_run_are_discarded() {
    let lines = logged(|| drop(refused(builder().load(denies(r#"$main (export "main")"#).as_bytes()))));
    assert_eq!(lines, [""; 0]);
}

#[test]
fn a_warning_is_logged_and_in_the_facts_and_a_refusal_if_strict() {
    let text = guest().on_response("(call $set_status_code 500)").text();
    let mut warnings = Vec::new();
    let lines = logged(|| {
        let guest = builder().load::<InMemoryHost>(text.as_bytes()).unwrap();
        warnings = guest.facts().warnings.clone();
    });
    assert_eq!(warnings.iter().map(|warning| warning.lint).collect::<Vec<_>>(), [Lint::LateBuffering]);
    let [line] = &lines[..] else { panic!("one line is expected: {lines:?}") };
    assert!(line.starts_with("WARN ") && line.contains("late-buffering"), "{line}");
    assert!(refused(builder().strict(true).load(text.as_bytes())).contains("`late-buffering`"));
    builder().strict(true).allow(Lint::LateBuffering).load::<InMemoryHost>(text.as_bytes()).unwrap();
}

#[test]
fn a_trap_of_a_guest_whose_constructors_run_before_each_call_says_what_to_change() {
    let text = r#"(module (memory (export "memory") 1)
        (func $construct (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))))
        (func $__wasm_call_ctors (call $construct))
        (func $__wasm_call_dtors (if (i32.gt_u (i32.load (i32.const 0)) (i32.const 1)) (then unreachable)))
        (func $work (result i64) (i64.const 0)) (func $after (param i32 i32))
        (func (export "handle_request") (result i64)
          (call $__wasm_call_ctors) (call $work) (call $__wasm_call_dtors))
        (func (export "handle_response") (param i32 i32)
          (call $__wasm_call_ctors) (call $after (local.get 0) (local.get 1)) (call $__wasm_call_dtors)))"#;
    let guest = builder().load::<InMemoryHost>(text.as_bytes()).unwrap();
    assert!(block_on(guest.handle_request(get())).is_ok());
    let message = match block_on(guest.handle_request(get())) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("the second request should trap"),
    };
    assert!(message.contains("constructors run before each call"), "{message}");
    assert!(message.contains("`-mexec-model=reactor`"), "{message}");
}
