//! Modules that can't be snapshotted, and failing start-ups.

use std::time::Duration;

use http_wasm_host::{ErrorKind, Limits, LoadError, Snapshot};

use super::{load, refusal, shows, shows_many_segments, try_snapshot};
use crate::support::{Wat, guest};

#[test]
fn a_module_whose_state_cannot_be_captured_is_refused_with_reason_and_advice() {
    for (items, reason) in [
        ("(table $t 1 funcref) (func (table.set $t (i32.const 0) (ref.null func)))", "table.set"),
        ("(table $t 1 funcref) (func (drop (table.grow $t (ref.null func) (i32.const 1))))", "table.grow"),
        (
            "(table $t 1 funcref) (func (table.fill $t (i32.const 0) (ref.null func) (i32.const 1)))",
            "table.fill",
        ),
        (
            "(table $t 1 funcref) (func (table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 0)))",
            "table.copy",
        ),
        (
            "(table $t 1 funcref) (elem $e funcref) \
             (func (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 0)))",
            "table.init",
        ),
        ("(elem $e funcref) (func (elem.drop $e))", "elem.drop"),
        ("(data $d \"x\") (func (data.drop $d))", "data.drop"),
        ("(global (mut funcref) (ref.null func))", "reference type"),
        ("(global (mut externref) (ref.null extern))", "reference type"),
        (
            "(type $s (struct (field (mut i32)))) (func (struct.set $s 0 (struct.new_default $s) (i32.const 1)))",
            "struct.set",
        ),
        ("(export \"__wizer_memory_0\" (memory 0))", "__wizer_"),
    ] {
        let text = shows("", items, "");
        let message = refusal(&text, Snapshot::On);
        assert!(message.starts_with("guest probe can't be snapshotted: "), "{message}");
        assert!(message.contains(reason), "{message} should contain {reason}");
        assert!(message.ends_with("; load it without a snapshot"), "{message}");
        load(&text, Snapshot::Off);
    }
}

#[test]
fn too_many_segments_that_cannot_be_joined_are_reported() {
    let (text, _) = shows_many_segments("(data (i32.const 1010) \"12345678\")", "");
    let message = refusal(&text, Snapshot::On);
    assert!(message.contains("the module has 95001 data segments"), "{message}");
    assert!(message.contains("they can't be merged: some overlap; load it"), "{message}");
}

#[test]
fn sections_in_the_wrong_order_are_refused_without_a_panic() {
    let wasm = wat::parse_str(shows("", "", "")).unwrap();
    // An empty name section before all others is valid, since custom sections may be anywhere.
    let mut odd = wasm[..8].to_vec();
    odd.extend(b"\0\x05\x04name");
    odd.extend(&wasm[8..]);
    match super::builder(Snapshot::On).load::<http_wasm_host::InMemoryHost>(&odd) {
        Err(error @ LoadError::Snapshot { .. }) => {
            assert!(error.to_string().contains("`name` section"), "{error}")
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was loaded"),
    }
    super::builder(Snapshot::Off).load::<http_wasm_host::InMemoryHost>(&odd).unwrap();
}

#[test]
fn an_unsupported_feature_is_the_same_error_as_without_a_snapshot() {
    for items in ["(memory 1 1 shared)", "(type $f (func)) (type (cont $f))"] {
        let text = shows("", items, "(i32.store8 (i32.const 0) (i32.const 1))");
        let [without, with] = [Snapshot::Off, Snapshot::On].map(|snapshot| {
            let loaded = super::builder(snapshot).load::<http_wasm_host::InMemoryHost>(text.as_bytes());
            loaded.err().map(|error| error.to_string())
        });
        let (without, with) = (without.unwrap(), with.unwrap());
        // The compiler's error begins with the failed step.
        let reason = with.trim_start_matches("guest probe does not compile: ");
        assert!(without.ends_with(reason), "{items}: {with} should be as {without}");
    }
}

#[test]
fn an_invalid_function_is_the_same_error_as_without_a_snapshot() {
    let text = shows("", "(func (result i32))", "");
    for snapshot in [Snapshot::Off, Snapshot::On] {
        let loaded = super::builder(snapshot).load::<http_wasm_host::InMemoryHost>(text.as_bytes());
        assert!(matches!(loaded, Err(LoadError::Compile { .. })));
    }
}

/// Loads a guest with and without a snapshot. Returns the two start-up errors.
#[track_caller]
fn start_errors(wat: impl Fn() -> Wat) -> [http_wasm_host::Error; 2] {
    [wat().try_load(), try_snapshot(&wat())].map(|loaded| match loaded {
        Err(LoadError::Start(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was loaded"),
    })
}

const STARTS: [fn(Wat, &str) -> Wat; 3] = [Wat::on_start, Wat::on_initialize, Wat::on_command];

#[test]
fn a_trap_is_the_same_error_as_without_a_snapshot() {
    for start in STARTS {
        let [without, with] =
            start_errors(|| start(guest().item("(func $boom unreachable)"), "(call $boom)"));
        assert_eq!(with.kind(), ErrorKind::Trap);
        assert_eq!(with.to_string(), without.to_string());
        assert_eq!(with.backtrace(), without.backtrace());
        assert_eq!(with.backtrace().unwrap().lines().next().unwrap().split_once(" - ").unwrap().1, "boom");
    }
}

#[test]
fn an_endless_loop_is_the_same_error_as_without_a_snapshot() {
    for start in STARTS {
        let limits = Limits { startup_deadline: Duration::from_millis(50), ..Limits::default() };
        let errors = start_errors(|| start(guest().limits(limits.clone()), "(loop $l (br $l))"));
        // On a busy machine, the limit that includes waiting may be exceeded first.
        assert_eq!(errors.map(|error| error.kind()), [ErrorKind::Deadline; 2]);
    }
}

#[test]
fn calls_that_need_a_request_are_the_same_error_as_without_a_snapshot() {
    let [without, with] = start_errors(|| guest().on_initialize("(call $set_status_code 200)"));
    assert_eq!((with.kind(), with.function()), (ErrorKind::HostCall, Some("set_status_code")));
    assert_eq!(with.to_string(), without.to_string());
}

#[test]
fn a_memory_over_the_limit_is_the_same_error_as_without_a_snapshot() {
    let limits = Limits { memory_bytes: 65_536, ..Limits::default() };
    let [without, with] =
        start_errors(|| guest().pages(2).limits(limits.clone()).on_initialize("(call $note 1)"));
    assert_eq!(with.kind(), ErrorKind::Limit);
    assert_eq!(with.to_string(), without.to_string());
}
