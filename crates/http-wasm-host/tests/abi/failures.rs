//! The messages of failures: what was refused before, what the guest wrote, and what to do.

use http_wasm_host::{Error, ErrorKind, InMemoryHost, Limits, LoadError, Mount};

use crate::support::{Wat, get, guest, proceeds, stops};

const PAGE: usize = 65_536;

fn limited(memory_bytes: usize) -> Limits {
    Limits { memory_bytes, ..Limits::default() }
}

#[track_caller]
fn start_error(wat: Wat) -> Error {
    match wat.try_load::<InMemoryHost>() {
        Err(LoadError::Start(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was loaded"),
    }
}

#[test]
fn a_trap_after_a_refused_growth_names_the_limit_and_the_setting() {
    let error = stops("(if (i32.eq (memory.grow 20) -1) (then unreachable))").limits(limited(16 * PAGE));
    let message = error.load().error(get()).to_string();
    let hint = "(after a memory.grow past the limit of 1 MiB (`memory_bytes`) was refused)";
    assert!(message.ends_with(hint), "{message}");
}

#[test]
fn a_refused_growth_in_an_earlier_request_is_not_mentioned() {
    let grows =
        "(if (call $has_header \"grow\") (then (drop (memory.grow 20)) (return (i64.const 0)))) unreachable";
    let has_header = r#"(func $has_header (param i32 i32) (result i32)
        (i64.ne
            (call $get_header_values (i32.const 0) (local.get 0) (local.get 1) (i32.const 0) (i32.const 0))
            (i64.const 0)))"#;
    let probe = stops(grows).item(has_header).limits(limited(2 * PAGE)).load();
    let mut first = get();
    first.request.headers.add(b"grow", b"1");
    assert!(probe.outcome(first).is_ok());
    let message = probe.error(get()).to_string();
    assert!(!message.contains("memory.grow"), "{message}");
}

#[test]
fn a_trap_after_a_growth_past_the_modules_own_maximum_says_so() {
    let grows = stops("(if (i32.eq (memory.grow 20) -1) (then unreachable))");
    let text = grows.text().replace("(memory (export \"memory\") 1)", "(memory (export \"memory\") 1 2)");
    let guest = grows.builder(crate::support::engine()).load::<InMemoryHost>(text.as_bytes()).unwrap();
    let message = crate::support::Probe::new(guest).error(get()).to_string();
    assert!(message.contains("past the module's own maximum of 128 KiB was refused"), "{message}");
}

#[test]
fn the_error_for_an_initial_memory_over_the_limit_names_both_sizes_and_the_setting() {
    let error = start_error(guest().pages(48).limits(limited(16 * PAGE)));
    assert_eq!(error.kind(), ErrorKind::Limit);
    let message = error.to_string();
    for part in ["starts at 3 MiB", "the limit is 1 MiB", "`memory_bytes`"] {
        assert!(message.contains(part), "{message}");
    }
}

/// Functions that write one line, "first" or "boom", to stderr.
const SAYS: &str = r#"(data (i32.const 12000) "first\nboom")
    (func $say (param $at i32) (param $len i32)
      (i32.store (i32.const 12096) (local.get $at)) (i32.store (i32.const 12100) (local.get $len))
      (drop (call $fd_write (i32.const 2) (i32.const 12096) (i32.const 1) (i32.const 12104))))"#;

fn says(wat: Wat) -> Wat {
    wat.item(SAYS)
}

/// Loads the guest with an import of `fd_write`, which must come first.
fn load(wat: &Wat, mounts: &[Mount]) -> Result<crate::support::Probe<InMemoryHost>, LoadError> {
    let import = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"#;
    let text = wat.text().replacen("(module", import, 1);
    let builder = wat.builder(crate::support::engine());
    let builder = mounts.iter().fold(builder, |builder, mount| builder.mount(mount.clone()));
    builder.load(text.as_bytes()).map(crate::support::Probe::new)
}

#[test]
fn stderr_output_is_attached_to_the_failure() {
    let directory = tempfile::tempdir().unwrap();
    let wat = says(proceeds("(call $say 12000 10) unreachable"));
    for mounts in [&[][..], &[Mount::read_only(directory.path(), "/data")]] {
        let error = load(&wat, mounts).unwrap().error(get());
        assert_eq!(error.stderr(), Some("first\nboom"));
        assert!(error.to_string().ends_with("; its stderr: first | boom"), "{error}");
    }
}

#[test]
fn stderr_output_of_an_earlier_request_is_not_attached() {
    let wat = says(proceeds("(if (i32.load 400) (then unreachable)) (i32.store 400 1) (call $say 12000 10)"));
    let probe = load(&wat, &[]).unwrap();
    drop(probe.next(get()));
    crate::support::eventually("the instance is back", || probe.stats().idle == 1);
    assert_eq!(probe.error(get()).stderr(), None);
}

#[test]
fn stderr_output_at_start_up_is_attached_to_a_start_up_failure() {
    let wat = says(guest().on_initialize("(call $say 12000 10) unreachable"));
    match load(&wat, &[]) {
        Err(error) => assert!(error.to_string().contains("; its stderr: first | boom"), "{error}"),
        Ok(_) => panic!("it was loaded"),
    }
}

#[test]
fn the_error_for_an_immutable_response_says_when_to_enable_the_feature() {
    let message = guest().on_response("(call $set_status_code 500)").load().error(get()).to_string();
    assert!(message.contains("buffer_response, enabled at start-up or in handle_request"), "{message}");
}
