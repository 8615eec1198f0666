//! The locations in backtraces of failed guests.
//!
//! The guest has so many functions that the index of a redirected call needs one more byte than the original, which
//! moves the code after it.

mod dwarf;

use http_wasm_host::{Backtraces, Engine, Error, Guest, GuestBuilder, InMemoryHost, LoadError, Snapshot};

use self::dwarf::with_debug_info;
use crate::log::logged_by;
use crate::support::{Probe, eventually, get};

const UNREACHABLE: u8 = 0x00;
const CALL: u8 = 0x10;

/// A guest that fails in `handle_request`.
fn module(initialize: &str) -> Vec<u8> {
    let fillers = "(func)".repeat(150);
    let text = format!(
        r#"(module
        (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
        (memory (export "memory") 1)
        {fillers}
        (func $fails
          (drop (call $read_body (i32.const 0) (i32.const 8) (i32.const 64)))
          (drop (call $read_body (i32.const 0) (i32.const 8) (i32.const 64)))
          unreachable)
        (func (export "_initialize") {initialize})
        (func (export "handle_request") (result i64)
          (drop (call $read_body (i32.const 0) (i32.const 8) (i32.const 64)))
          (call $fails)
          i64.const 1)
        (func (export "handle_response") (param i32 i32)))"#
    );
    wat::parse_str(text).unwrap()
}

/// A builder with its own engine, since guests of one engine share what is known about a module.
fn builder() -> GuestBuilder {
    Guest::<InMemoryHost>::builder(&Engine::builder().slots(0).build().unwrap()).name("probe")
}

fn failure(builder: GuestBuilder, module: &[u8]) -> Error {
    Probe::new(builder.load(module).unwrap()).error(get())
}

/// The offsets and functions of a backtrace.
fn calls(backtrace: &str) -> Vec<(usize, &str)> {
    backtrace
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .map(|(place, function)| {
            let offset = place.split_once("0x").unwrap().1;
            (usize::from_str_radix(offset.trim(), 16).unwrap(), function)
        })
        .collect()
}

/// The source lines of a backtrace.
fn lines(backtrace: &str) -> Vec<&str> {
    backtrace.lines().filter_map(|line| line.trim().strip_prefix("at ")).collect()
}

#[test]
fn offsets_refer_to_the_original_file_with_and_without_a_snapshot() {
    let module = module("");
    for snapshot in [Snapshot::Off, Snapshot::On] {
        let error = failure(builder().snapshot(snapshot), &module);
        let calls = calls(error.backtrace().unwrap());
        let [(inner, fails), (outer, handle_request)] = calls[..] else { panic!("{calls:?}") };
        assert_eq!((module[inner], fails), (UNREACHABLE, "fails"));
        assert_eq!((module[outer], module[outer + 1] & 0x7f), (CALL, (151 & 0x7f) as u8));
        assert_eq!(handle_request, "handle_request");
    }
}

#[test]
fn source_lines_come_from_the_debug_information_with_and_without_a_snapshot() {
    let module = module("");
    let module = with_debug_info(&module);
    let mut found = Vec::new();
    for snapshot in [Snapshot::Off, Snapshot::On] {
        let mut error = failure(builder().snapshot(snapshot), &module);
        assert_eq!(lines(error.backtrace().unwrap()), [""; 0]);
        error.locate();
        let backtrace = error.backtrace().unwrap().to_owned();
        // Each instruction has its own line, made of the number of its function and its number in there.
        let lines = lines(&backtrace);
        assert_eq!(lines, ["src/guest.c:15010", "src/guest.c:15205"], "{backtrace}");
        assert!(backtrace.contains("- function_150\n"), "the name in the debug information: {backtrace}");
        found.push(backtrace);
    }
    assert_eq!(found[0], found[1]);
}

#[test]
fn a_guest_that_does_not_start_is_reported_with_source_lines() {
    let module = with_debug_info(&module("unreachable"));
    for snapshot in [Snapshot::Off, Snapshot::On] {
        match builder().snapshot(snapshot).load::<InMemoryHost>(&module) {
            Err(error @ LoadError::Start(_)) => {
                let text = error.to_string();
                assert!(text.contains("at src/guest.c:15100"), "{text}");
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn source_lines_are_looked_up_after_the_failure_was_logged_and_once_for_each_place() {
    let guest = Probe::new(builder().load(&with_debug_info(&module(""))).unwrap());
    let fail = || {
        let error = guest.error(get());
        let known = error.backtrace().unwrap().contains("guest.c");
        error.log("; the request is lost");
        known
    };
    let logged = logged_by("error", || {
        assert!(!fail(), "nothing was looked up while the request waited");
        eventually("the look-up", || guest.error(get()).backtrace().unwrap().contains("guest.c"));
        assert!(fail());
        assert!(fail());
    });
    // The lookup may be logged a little after its result is known.
    let with_lines = |line: &&String| line.contains("source lines of: guest probe in handle_request");
    let reports = logged.iter().filter(|line| line.contains("; the request is lost")).count();
    assert_eq!(reports, 3, "{logged:#?}");
    assert!(logged.iter().filter(with_lines).count() <= 1, "{logged:#?}");
    assert!(!logged[0].contains("guest.c") && logged[0].contains("unreachable"), "{logged:#?}");
}

#[test]
fn source_lines_and_backtraces_can_be_switched_off() {
    let module = with_debug_info(&module(""));
    let with = |backtraces| {
        let guest = builder().backtraces(backtraces).load::<InMemoryHost>(&module).unwrap();
        let kept = guest.facts().debug_info_bytes;
        let mut error = Probe::new(guest).error(get());
        error.locate();
        (kept > 0, error.backtrace().map(|backtrace| lines(backtrace).len()))
    };
    assert_eq!(with(Backtraces::Lines), (true, Some(2)));
    assert_eq!(with(Backtraces::Functions), (false, Some(0)));
    assert_eq!(with(Backtraces::Off), (false, None));
}

#[test]
fn with_damaged_debug_information_backtraces_still_name_functions() {
    let plain = module("");
    let module = with_debug_info(&plain);
    let guest = |bytes: &[u8]| {
        let mut error = failure(builder(), bytes);
        error.locate();
        let functions: Vec<_> = calls(error.backtrace().unwrap()).iter().map(|call| call.0).collect();
        functions
    };
    let offsets = guest(&plain);
    // Only damage the contents of custom sections, which follow the original module.
    let end = plain.len();
    let contents = dwarf::contents_after(&module, end);
    for at in contents.into_iter().step_by(5) {
        let mut damaged = module.clone();
        damaged[at] ^= 0xff;
        assert_eq!(guest(&damaged), offsets, "byte {at}");
    }
}
