use super::*;

#[test]
fn a_missing_export_is_explained_for_each_language() {
    let guest = r#"(module (memory (export "memory") 1) (func (export "handle_request") (result i64) (i64.const 1)))"#;
    assert_one_fault(
        guest,
        &[
            "`handle_response`",
            "#[unsafe(no_mangle)] pub extern \"C\" fn handle_response(req_ctx: i32, is_error: i32)",
            "//go:wasmexport handle_response",
            "export_name(\"handle_response\")",
            "export fn handle_response",
            "export function handle_response",
        ],
    );
}

#[test]
fn a_missing_export_is_explained_in_the_guests_own_language_where_it_is_known() {
    for (language, has, lacks) in [("Rust", "no_mangle", "wasmexport"), ("Go", "wasmexport", "no_mangle")] {
        let faults = faults(&format!(
            r#"(module (memory (export "memory") 1) (func (export "handle_request") (result i64) (i64.const 1))
                (@producers (language "{language}" "")))"#
        ));
        assert!(faults[0].contains(has) && !faults[0].contains(lacks), "{faults:?}");
    }
}

#[test]
fn an_export_with_a_similar_name_is_suggested() {
    for similar in ["handleRequest", "handle-request", "_ZN5guest14handle_request17h0123456789abcdefE"] {
        let guest = EXPORTS.replace("\"handle_request\"", &format!("\"{similar}\""));
        assert_one_fault(
            &format!("(module {guest})"),
            &["`handle_request`", &format!("`{similar}` is exported: rename it")],
        );
    }
}

#[test]
fn an_export_of_the_wrong_kind_or_signature_is_refused() {
    let with = |from: &str, to: &str| {
        let guest = EXPORTS.replace(from, to);
        assert_ne!(guest, EXPORTS);
        format!("(module {guest})")
    };
    assert_one_fault(
        &with("(result i64) (i64.const 0)", "(result i32) (i32.const 0)"),
        &["the export `handle_request` has the signature () -> i32, but () -> i64 is expected", "64-bit"],
    );
    assert_one_fault(
        &with("(param i32 i32)", "(param i64) (result i32 i32) unreachable"),
        &[
            "the export `handle_response` has the signature (i64) -> (i32, i32), but (i32, i32) -> () is expected",
        ],
    );
    assert_one_fault(
        &with(
            "(func (export \"handle_response\") (param i32 i32))",
            "(global (export \"handle_response\") i32 (i32.const 0))",
        ),
        &["the export `handle_response` is a global, not a function", "(i32, i32) -> ()"],
    );
    assert_one_fault(
        &with("(memory (export \"memory\") 2 9)", "(func (export \"memory\"))"),
        &["the export `memory` is a function, not a memory"],
    );
    assert_one_fault(&with(" 2 9)", " i64 2 9)"), &["`memory` has 64-bit addresses", "wasm32"]);
    assert_one_fault(&with(" 2 9)", " 2 9 shared)"), &["`memory` is shared between threads", "-pthread"]);
    for optional in ["_initialize", "_start"] {
        assert_one_fault(
            &format!("(module {EXPORTS} (func (export \"{optional}\") (result i32) (i32.const 0)))"),
            &[&format!("the export `{optional}` has the signature () -> i32, but () -> () is expected")],
        );
    }
}

#[test]
fn guests_of_other_platforms_are_recognised_by_their_exports() {
    for (export, part) in [
        ("proxy_abi_version_0_2_1", "proxy-wasm"),
        ("proxy_on_request_headers", "proxy-wasm"),
        ("cabi_realloc", "wasm32-wasip1"),
        ("wasi:http/incoming-handler@0.2.0#handle", "wasm32-wasip1"),
        ("__guest_call", "waPC"),
    ] {
        let guest = format!(r#"(module (memory (export "memory") 1) (func (export "{export}")))"#);
        assert_one_fault(&guest, &[&format!("but `{export}` is exported"), part]);
    }
}

#[test]
fn a_memory_exported_under_another_name_is_mentioned() {
    let guest = EXPORTS.replace("\"memory\"", "\"mem\"");
    assert_one_fault(
        &format!("(module {guest})"),
        &["but a memory is exported as `mem`", "under the name `memory`"],
    );
}

#[test]
fn a_go_version_without_function_exports_is_reported() {
    let made_by = |version: &str| {
        let guest = format!(
            r#"(module (memory (export "memory") 1) (func (export "handle_response") (param i32 i32))
            (@producers (language "Go" "{version}")))"#
        );
        faults(&guest).remove(0)
    };
    for old in ["go1.23.4", "go1.21rc2", "go1.9"] {
        assert!(
            made_by(old).contains("can't export functions: update to Go 1.24 or later"),
            "{}",
            made_by(old)
        );
    }
    for new in ["go1.24", "go1.26.0", "go2.0", "devel"] {
        assert!(!made_by(new).contains("update to"), "{}", made_by(new));
    }
}
