mod exports;
mod imports;

use super::*;

const EXPORTS: &str = r#"(memory (export "memory") 2 9)
    (func (export "handle_request") (result i64) (i64.const 0))
    (func (export "handle_response") (param i32 i32))"#;

fn inspected(guest: &str) -> Inspection {
    inspect(guest.as_bytes()).unwrap()
}

fn faults(guest: &str) -> Vec<String> {
    inspect(guest.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
}

/// Asserts that a guest with these imports and all exports has one fault, whose message has all `parts`.
#[track_caller]
fn assert_import_fault(imports: &str, parts: &[&str]) {
    assert_one_fault(&format!("(module {imports} {EXPORTS})"), parts);
}

#[track_caller]
fn assert_one_fault(guest: &str, parts: &[&str]) {
    let faults = faults(guest);
    let [fault] = &faults[..] else { panic!("one fault is expected: {faults:#?}") };
    for part in parts {
        assert!(fault.contains(part), "{part:?} is not in {fault:?}");
    }
    assert!(!fault.contains('\n'), "{fault}");
}

#[test]
fn a_valid_guest_is_described() {
    let guest = inspected(&format!(
        r#"(module
            (import "http_handler" "log" (func (param i32 i32 i32)))
            (import "http_handler" "log" (func (param i32 i32 i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            {EXPORTS} (func $f (export "_initialize")) (start $f))"#
    ));
    assert!(guest.clone().take_wasm().starts_with(b"\0asm"));
    let imports: Vec<_> = guest.imports().iter().map(|i| (i.module.as_str(), i.name.as_str())).collect();
    assert_eq!(imports, [("http_handler", "log"), ("wasi_snapshot_preview1", "fd_write")]);
    assert!(guest.imports_handler("log") && !guest.imports_handler("fd_write"));
    assert!(guest.imports_wasi("fd_write") && guest.needs_wasi());
    assert!(guest.has_start_function() && guest.exports_initialize() && !guest.exports_start());
    assert_eq!((guest.initial_memory_pages(), guest.maximum_memory_pages()), (2, Some(9)));
    assert_eq!(guest.producers(), []);
}

#[test]
fn a_guest_without_imports_is_valid() {
    let guest = inspected(&format!("(module {EXPORTS} (func (export \"_start\")))"));
    assert!(guest.imports().is_empty() && !guest.needs_wasi() && !guest.has_start_function());
    assert!(guest.exports_start() && !guest.exports_initialize());
}

#[test]
fn the_tools_that_produced_a_guest_are_listed() {
    let guest = inspected(&format!(
        r#"(module {EXPORTS} (@producers (language "Rust" "") (processed-by "rustc" "1.95.0")))"#
    ));
    let shown: Vec<_> = guest.producers().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["language: Rust", "processed-by: rustc 1.95.0"]);
}

#[test]
fn all_faults_are_reported_at_once() {
    let faults = faults(
        r#"(module (import "env" "abort" (func (param i32 i32 i32 i32))) (import "http_handler" "lok" (func)))"#,
    );
    let starts = [
        "the export `memory` (a memory) is missing; ",
        "the export `handle_request` (a function () -> i64) is missing; ",
        "the export `handle_response` (a function (i32, i32) -> ()) is missing; ",
        "the import `http_handler.lok` names a function that `http_handler` doesn't have; ",
        "the import `env.abort` (function) is not part of the http-wasm ABI; ",
    ];
    assert_eq!(faults.len(), starts.len(), "{faults:#?}");
    for (fault, start) in faults.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault}");
    }
}

#[test]
fn a_malformed_module_is_refused_with_the_place_and_reason() {
    let mut wasm = wat::parse_str(format!("(module {EXPORTS})")).unwrap();
    let cut = inspect(&wasm[..wasm.len() - 3]).unwrap_err();
    assert_eq!(cut.len(), 1);
    assert!(cut[0].what.starts_with("the module is malformed at byte "), "{}", cut[0]);
    assert!(cut[0].to_string().contains("truncated"), "{}", cut[0]);
    wasm[8] = 0x7f;
    let damaged = inspect(&wasm).unwrap_err();
    assert!(damaged[0].to_string().contains("malformed section id: 127; it is damaged"), "{}", damaged[0]);
}

#[test]
fn modules_with_repeated_sections_are_refused() {
    let twice = b"\0asm\x01\0\0\0\x01\x01\0\x01\x01\0";
    assert!(inspect(twice).unwrap_err()[0].what.contains("malformed"));
}

#[test]
fn damaged_modules_never_cause_a_panic() {
    let wasm = wat::parse_str(format!(
        "(module (import \"env\" \"f\" (func (param i32))) \
         (import \"http_handler\" \"log\" (func (param i32 i32 i32))) {EXPORTS})"
    ))
    .unwrap();
    for at in 0..wasm.len() {
        let _cut = inspect(&wasm[..at]);
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = wasm.clone();
            damaged[at] ^= flip;
            let _may_still_be_readable = inspect(&damaged);
        }
    }
}

#[test]
fn an_object_file_is_distinguished_from_a_module_that_kept_its_relocations() {
    // Object files also export functions with clang's attribute `export_name`.
    for exports in ["", r#"(func (export "handle_request") (result i64) (i64.const 0))"#] {
        let object = format!(
            r#"(module (import "env" "__linear_memory" (memory 0)) {exports} (@custom "linking" "\02"))"#
        );
        assert_one_fault(&object, &["an object file that hasn't been linked", "without `-c`"]);
    }
    inspected(&format!(r#"(module {EXPORTS} (@custom "linking" "\02"))"#));
}

#[test]
fn legacy_exceptions_are_refused_with_the_way_to_translate_them() {
    // The text format no longer has these: try, an empty block type, catch_all, end.
    let mut wasm = wat::parse_str(format!("(module {EXPORTS} (func nop nop nop nop))")).unwrap();
    let at = wasm.windows(4).position(|bytes| bytes == [1; 4]).unwrap();
    wasm[at..at + 4].copy_from_slice(&[0x06, 0x40, 0x19, 0x0b]);
    let faults = inspect(&wasm).unwrap_err();
    for part in ["legacy form of exception handling", "--translate-to-exnref"] {
        assert!(faults[0].to_string().contains(part), "{faults:?}");
    }
}

#[test]
fn imports_in_compact_form_are_refused_with_the_flag_that_avoids_them() {
    // A type, and two functions from a module whose name is written only once.
    let mut module = wasm_encoder::Module::new();
    module.section(&wasm_encoder::RawSection { id: 1, data: &[1, 0x60, 0, 0] });
    let imports = b"\x01\x01m\x00\x7f\x02\x01a\x00\x00\x01b\x00\x00";
    module.section(&wasm_encoder::RawSection { id: 2, data: imports });
    let faults = inspect(module.as_slice()).unwrap_err();
    assert!(faults[0].to_string().contains("`--disable-compact-imports`"), "{faults:?}");
}

#[test]
fn a_pre_initialised_module_with_too_many_segments_is_refused_with_a_hint() {
    let mut data = wasm_encoder::DataSection::new();
    for _ in 0..100_001 {
        data.active(0, &wasm_encoder::ConstExpr::i32_const(0), []);
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&wasm_encoder::RawSection { id: 5, data: &[1, 0, 1] });
    module.section(&data);
    let faults = inspect(module.as_slice()).unwrap_err();
    assert!(faults[0].to_string().contains("100,000 data segments"), "{faults:?}");
    assert!(faults[0].to_string().contains("`--snapshot`"), "{faults:?}");
}
