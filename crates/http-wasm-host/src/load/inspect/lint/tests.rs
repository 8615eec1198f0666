use super::*;
use crate::load::inspect::inspect;
use crate::warning::{Lint, Warning};

/// The warnings and refusals for a guest with these items, after a probe with this result.
fn warnings(items: &str, probed: Probed) -> (Vec<String>, Vec<String>) {
    let guest = format!(
        r#"(module
        (import "http_handler" "set_status_code" (func $status (param i32)))
        (import "http_handler" "enable_features" (func $enable (param i32) (result i32)))
        (memory (export "memory") 1) (table 4 funcref) (type $t (func))
        {items})"#
    );
    let inspection = inspect(guest.as_bytes()).unwrap();
    let lint_facts = inspection.lint_facts();
    let probed = if lint_facts.needs_probe() { probed } else { Probed::Unknown };
    let Verdict { refusals, warnings } = lint_facts.judge(Features::NONE, probed);
    let text = |warnings: Vec<Warning>| warnings.iter().map(ToString::to_string).collect();
    (text(refusals), text(warnings))
}

#[track_caller]
fn assert_refused(items: &str, parts: &[&str]) {
    let (refusals, warnings) = warnings(items, Probed::Silent);
    let [refusal] = &refusals[..] else { panic!("one refusal is expected: {refusals:?}, {warnings:?}") };
    for part in parts {
        assert!(refusal.contains(part), "{part:?} is not in {refusal:?}");
    }
}

#[track_caller]
fn assert_warned(items: &str, probed: Probed, parts: &[&str]) {
    let (refusals, warnings) = warnings(items, probed);
    assert!(refusals.is_empty(), "{refusals:?}");
    let [warning] = &warnings[..] else { panic!("one warning is expected: {warnings:?}") };
    for part in parts {
        assert!(warning.contains(part), "{part:?} is not in {warning:?}");
    }
}

#[track_caller]
fn assert_clean(items: &str, probed: Probed) {
    assert_eq!(warnings(items, probed), (vec![], vec![]));
}

/// Handlers that call the function registered at 0, if there is one.
const DISPATCHES: &str = r#"
    (func (export "handle_request") (result i64)
      (if (i32.load (i32.const 0)) (then (call_indirect (type $t) (i32.load (i32.const 0)))))
      (i64.const 1))
    (func (export "handle_response") (param i32 i32))"#;

/// Handlers that do their work themselves.
const WORKS: &str = r#"
    (func (export "handle_request") (result i64) (call $status (i32.const 403)) (i64.const 0))
    (func (export "handle_response") (param i32 i32))"#;

const REGISTERS: &str = "(elem (i32.const 1) $deny) (func $deny (call $status (i32.const 403)))
    (func $register (i32.store (i32.const 0) (i32.const 1)))";

#[test]
fn an_inactive_guest_with_uncalled_start_code_is_refused_with_the_flag_to_set() {
    for start in [
        r#"(func $main (export "main") (param i32 i32) (result i32) (call $register) (i32.const 0))"#,
        "(func $__original_main (result i32) (call $register) (i32.const 0))",
        "(func $_GLOBAL__sub_I_guest.cc (call $register))",
        r#"(func $__wasm_call_ctors (export "__wasm_call_ctors") (call $register))"#,
        "(func $_initialize (call $register))",
        r#"(func (export "start") (call $register))"#,
    ] {
        assert_refused(
            &format!("{DISPATCHES} {REGISTERS} {start}"),
            &[
                "the guest does nothing",
                "is never called",
                "`--exportStart _initialize`",
                "`-mexec-model=reactor`",
            ],
        );
    }
}

#[test]
fn the_suggested_fix_matches_the_guests_toolchain() {
    let made_with = |producers: &str, part: &str| {
        let main =
            r#"(func $main (export "main") (param i32 i32) (result i32) (call $register) (i32.const 0))"#;
        assert_refused(&format!("{DISPATCHES} {REGISTERS} {main} (@producers {producers})"), &[part]);
    };
    made_with(r#"(language "Rust" "") (processed-by "clang" "20")"#, "`--target wasm32-wasip1`");
    made_with(r#"(processed-by "clang" "20")"#, "without `-nostartfiles`");
}

#[test]
fn an_inactive_guest_without_start_code_that_calls_registered_handlers_is_refused() {
    assert_refused(DISPATCHES, &["none of its code runs then"]);
}

#[test]
fn an_inactive_library_without_names_is_warned_that_its_main_may_never_run() {
    // This module has no names, as after `go build -ldflags=-s`.
    let guest = |start: &str, producers: &str| {
        format!(
            r#"(module
            (import "http_handler" "set_status_code" (func (param i32)))
            (memory (export "memory") 1) (table 2 funcref) (elem (i32.const 1) 3)
            (type (func))
            (func {start})
            (func (export "handle_request") (result i64)
              (if (i32.load (i32.const 0)) (then (call_indirect (type 0) (i32.load (i32.const 0)))))
              (i64.const 1))
            (func (call 0 (i32.const 403)))
            (func (export "handle_response") (param i32 i32))
            {producers})"#
        )
    };
    let judged = |start: &str, producers: &str, probed: Probed| {
        let inspection = inspect(guest(start, producers).as_bytes()).unwrap();
        assert!(inspection.lint_facts().needs_probe() || start.contains("_start"));
        let Verdict { refusals, warnings } = inspection.lint_facts().judge(Features::NONE, probed);
        assert!(refusals.is_empty(), "{refusals:?}");
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let library = r#"(export "_initialize")"#;
    let go = r#"(@producers (language "Go" "go1.26.0"))"#;
    let [warning] = &judged(library, go, Probed::Silent)[..] else { panic!("one warning is expected") };
    assert!(warning.contains("doesn't run in a library") && warning.contains("`func init()`"), "{warning}");
    assert_eq!(judged(library, "", Probed::Silent).len(), 1);
    assert_eq!(judged(library, go, Probed::Active), [""; 0]);
    // Its `main` has run.
    assert_eq!(judged(r#"(export "_start")"#, "", Probed::Silent), [""; 0]);
}

#[test]
fn a_guest_that_registers_handlers_in_any_start_code_has_no_warnings() {
    for start in [
        "(start $register)",
        r#"(export "_initialize" (func $register))"#,
        r#"(export "_start" (func $register))"#,
    ] {
        for probed in [Probed::Active, Probed::Silent, Probed::Unknown] {
            assert_clean(&format!("{DISPATCHES} {REGISTERS} {start}"), probed);
        }
    }
}

#[test]
fn a_working_guest_with_an_uncalled_main_gets_a_warning() {
    let main = r#"(func $main (export "main") (param i32 i32) (result i32) (call $register) (i32.const 0))"#;
    assert_warned(
        &format!("{WORKS} {REGISTERS} {main}"),
        Probed::Active,
        &["`main` looks like the guest's start-up code, but is never called"],
    );
}

#[test]
fn an_uncalled_main_without_effects_is_not_start_code() {
    assert_clean(
        &format!(
            r#"{WORKS} (func $main (export "main") (param i32 i32) (result i32) (i32.const 0))
                (func (export "__wasm_call_ctors"))"#
        ),
        Probed::Silent,
    );
    // A Rust program for wasm32-unknown-unknown has a `main` that calls the `main` of the source.
    let rust = r#"(@producers (language "Rust" "")) (func $_ZN2gb4main17h1c0162745bbdb285E)
        (func (export "main") (param i32 i32) (result i32) (call $register) (i32.const 0))"#;
    assert_clean(&format!("{WORKS} {REGISTERS} {rust}"), Probed::Active);
}

#[test]
fn a_working_guest_gets_no_warning_for_an_export_that_may_be_start_code() {
    assert_clean(&format!(r#"{WORKS} {REGISTERS} (func (export "init") (call $register))"#), Probed::Active);
}

#[test]
fn code_in_the_main_of_a_go_library_is_found_although_a_table_holds_all_functions() {
    let go = |main: &str| {
        format!(
            r#"(@producers (language "Go" "go1.26")) (export "_initialize" (func $rt0))
            (elem (i32.const 1) $rt0 $main.main $deny) (func $rt0) (func $deny (call $status (i32.const 403)))
            (func $main.main (param i32) (result i32) {main} (i32.const 0)) {DISPATCHES}"#
        )
    };
    let registers = "(i32.store (i32.const 0) (i32.const 1))";
    assert_refused(&go(registers), &["`main.main`", "move its code into `func init()`"]);
    assert_warned(&go(registers), Probed::Active, &["`main.main`", "-buildmode=c-shared"]);
    assert_clean(&go(""), Probed::Active);
}

#[test]
fn a_guest_with_trivial_handlers_has_no_warnings() {
    for handler in ["(i64.const 1)", "(i64.const 0)", "unreachable", "(loop (br 0)) (i64.const 1)"] {
        assert_clean(
            &format!(
                r#"(func (export "handle_request") (result i64) {handler})
                    (func (export "handle_response") (param i32 i32))"#
            ),
            Probed::Silent,
        );
    }
}

const WRAPPED: &str = r#"
    (func $work (result i64) (i64.const 1)) (func $after (param i32 i32))
    (func $handle_request.command_export (export "handle_request") (result i64)
      (call $__wasm_call_ctors) (call $work) (call $__wasm_call_dtors))
    (func $handle_response.command_export (export "handle_response") (param i32 i32)
      (call $__wasm_call_ctors) (call $after (local.get 0) (local.get 1)) (call $__wasm_call_dtors))
    (func $__wasm_call_dtors)"#;

#[test]
fn constructors_that_run_before_each_handler_get_a_warning() {
    let constructor = "(func $construct (i32.store (i32.const 0) (i32.const 1))) (func $__wasm_call_ctors (call \
         $construct))";
    assert_warned(
        &format!("{WRAPPED} {constructor}"),
        Probed::Active,
        &["constructors run before each handler", "`-mexec-model=reactor`", "_initialize"],
    );
    // The same module without names.
    let named =
        wat::parse_str(format!(r#"(module (memory (export "memory") 1) {WRAPPED} {constructor})"#)).unwrap();
    let mut stripped = wasm_encoder::Module::new();
    for payload in wasmparser::Parser::new(0).parse_all(&named) {
        if let Some((id, range)) = payload.unwrap().as_section()
            && id != 0
        {
            stripped.section(&wasm_encoder::RawSection { id, data: &named[range] });
        }
    }
    let lint_facts = inspect(stripped.as_slice()).unwrap().lint_facts().clone();
    assert!(lint_facts.command_exports && lint_facts.trap_hint().is_some());
}

#[test]
fn constructors_of_the_c_library_get_no_warning() {
    for constructors in [
        "(func $__wasm_call_ctors)",
        "(func $__wasilibc_initialize_environ (i32.store (i32.const 0) (i32.const 1)))
         (func $__wasm_call_ctors (call $__wasilibc_initialize_environ))",
    ] {
        assert_clean(&format!("{WRAPPED} {constructors}"), Probed::Active);
    }
}

#[test]
fn a_guest_that_initialises_itself_in_each_handler_has_no_warnings() {
    assert_clean(
        r#"(func $once (if (i32.eqz (i32.load (i32.const 0))) (then (i32.store (i32.const 0) (i32.const 1)))))
        (func $work (result i64) (call $status (i32.const 403)) (i64.const 1)) (func $after)
        (func (export "handle_request") (result i64) (call $once) (call $work))
        (func (export "handle_response") (param i32 i32) (call $once) (call $after))"#,
        Probed::Active,
    );
}

#[test]
fn changing_a_response_without_buffer_response_gets_a_warning() {
    let guest = |start: &str, request: &str, response: &str| {
        format!(
            r#"(func (export "_initialize") {start})
            (func (export "handle_request") (result i64) {request} (i64.const 1))
            (func (export "handle_response") (param i32 i32) {response})"#
        )
    };
    let (enables, changes) = ("(drop (call $enable (i32.const 2)))", "(call $status (i32.const 500))");
    for response in [changes.to_owned(), format!("{enables} {changes}")] {
        assert_warned(
            &guest("", "", &response),
            Probed::Active,
            &["calls `set_status_code`", "in `handle_response` it is too late"],
        );
    }
    assert_clean(&guest("", enables, changes), Probed::Active);
    assert_clean(&guest("", "", ""), Probed::Active);
    let enabled = |features| {
        let guest = format!(
            r#"(module (import "http_handler" "set_status_code" (func $status (param i32)))
            (memory (export "memory") 1) {})"#,
            guest("", "", changes)
        );
        inspect(guest.as_bytes()).unwrap().lint_facts().judge(features, Probed::Active).warnings.len()
    };
    assert_eq!((enabled(Features::BUFFER_RESPONSE), enabled(Features::BUFFER_REQUEST)), (0, 1));
}

#[test]
fn a_handler_with_a_default_parameter_gets_a_warning_and_other_functions_do_not() {
    let guest = |handler: &str| {
        format!(
            r#"(global $count (mut i32) (i32.const 0))
            (func (export "__setArgumentsLength") (param i32) (global.set $count (local.get 0)))
            (func (export "handle_request") (result i64) (i64.const 1))
            (func (export "handle_response") (param i32 i32) {handler})"#
        )
    };
    assert_warned(
        &guest("(if (i32.lt_u (global.get $count) (i32.const 2)) (then))"),
        Probed::Active,
        &["`handle_response` has a default parameter", "without default values"],
    );
    assert_clean(&guest(""), Probed::Active);
}

#[test]
fn allowed_lints_are_left_out_and_strict_turns_the_rest_into_refusals() {
    let verdict = || Verdict {
        refusals: vec![Warning::new(Lint::Unregistered, "a", "b")],
        warnings: vec![Warning::new(Lint::LateBuffering, "c", "d")],
    };
    let count = |judged: Verdict| (judged.refusals.len(), judged.warnings.len());
    assert_eq!(count(verdict().with(&[], false)), (1, 1));
    assert_eq!(count(verdict().with(&[Lint::Unregistered], false)), (0, 1));
    assert_eq!(count(verdict().with(&[], true)), (2, 0));
    assert_eq!(count(verdict().with(&Lint::ALL, true)), (0, 0));
}
