use super::*;

#[test]
fn every_function_of_the_abi_may_be_imported() {
    let handler = signatures::handler_names().map(|name| (HANDLER, name, signatures::handler(name)));
    let wasi = signatures::wasi_names().map(|name| (WASI, name, signatures::wasi(name)));
    let mut imports = String::new();
    for (module, name, signature) in handler.chain(wasi) {
        let signature = signature.unwrap().to_string().replace([',', '(', ')'], "");
        let (params, result) = signature.split_once(" -> ").unwrap();
        imports += &format!("(import \"{module}\" \"{name}\" (func (param {params}) (result {result})))");
    }
    assert_eq!(inspected(&format!("(module {imports} {EXPORTS})")).imports().len(), 65);
}

#[test]
fn a_misspelt_function_gets_a_suggestion() {
    assert_import_fault(
        r#"(import "http_handler" "get_header_value" (func))"#,
        &["`http_handler.get_header_value`", "did you mean `get_header_values`?"],
    );
    assert_import_fault(
        r#"(import "wasi_snapshot_preview1" "random-get" (func))"#,
        &["`wasi_snapshot_preview1.random-get`", "did you mean `random_get`?"],
    );
    assert_import_fault(
        r#"(import "http_handler" "frobnicate" (func))"#,
        &["`http_handler.frobnicate`", "are enable_features, "],
    );
}

#[test]
fn a_wrong_signature_is_reported_with_the_expected_one() {
    assert_import_fault(
        r#"(import "http_handler" "read_body" (func (param i32 i32) (result i32)))"#,
        &[
            "`http_handler.read_body` has the signature (i32, i32) -> i32, but (i32, i32, i32) -> i64 is expected",
        ],
    );
    assert_import_fault(
        r#"(import "wasi_snapshot_preview1" "sock_accept" (func (param i32 i32) (result i32)))"#,
        &[
            "`wasi_snapshot_preview1.sock_accept` has the signature (i32, i32) -> i32, but (i32, i32, i32) -> i32",
        ],
    );
}

#[test]
fn a_function_of_the_abi_imported_as_something_else_is_refused() {
    assert_import_fault(
        r#"(import "http_handler" "log" (global i32))"#,
        &["`http_handler.log` is imported as a global, but `http_handler` has only functions"],
    );
}

#[test]
fn wasmedge_sockets_are_named() {
    assert_import_fault(
        r#"(import "wasi_snapshot_preview1" "sock_open" (func (param i32 i32 i32) (result i32)))"#,
        &["`wasi_snapshot_preview1.sock_open`", "WasmEdge"],
    );
}

#[test]
fn imports_with_one_cause_are_one_fault() {
    let imports: String = (0..50).map(|n| format!("(import \"wbg\" \"f{n}\" (func))")).collect();
    assert_import_fault(
        &imports,
        &["the imports `wbg.f0` (function), `wbg.f1` (function)", "and 42 more are not part", "wasm-bindgen"],
    );
}

#[test]
fn the_number_of_reported_faults_is_limited() {
    let imports: String = (0..500).map(|n| format!("(import \"http_handler\" \"f{n}\" (func))")).collect();
    let faults = faults(&format!("(module {imports} {EXPORTS})"));
    assert_eq!(faults.len(), 33);
    assert_eq!(faults[32], "468 more like these");
}

#[test]
fn names_in_messages_hold_no_control_characters() {
    assert_import_fault(r#"(import "e\1b[2J" "a\nb" (func))"#, &["`e\\u{1b}[2J.a\\nb` (function)"]);
}

#[test]
fn the_likely_cause_of_a_foreign_import_is_reported() {
    let func = |module: &str, name: &str| format!("(import \"{module}\" \"{name}\" (func))");
    for (module, name, part) in [
        ("env", "seed", "Math.random"),
        ("env", "trace", "AssemblyScript's `trace`"),
        ("env", "console.log", "wasi-shim"),
        ("env", "time.resetTimer", "TinyGo"),
        ("env", "runtime.ticks", "GOOS=wasip1"),
        ("env", "proxy_log", "proxy-wasm"),
        ("env", "memcpy", "no C library"),
        ("env", "log", "--allow-undefined"),
        ("env", "__cxa_throw", "-fno-exceptions"),
        ("env", "abort", "--allow-undefined"),
        ("env", "my_function", "--allow-undefined"),
        ("env", "emscripten_resize_heap", "-sSTANDALONE_WASM"),
        ("env", "emscripten_notify_memory_growth", "-sALLOW_MEMORY_GROWTH"),
        ("env", "extism_alloc", "Extism"),
        ("extism:host/env", "alloc", "Extism"),
        ("env", "set_uri", "#[link(wasm_import_module = \"http_handler\")]"),
        ("index", "get_method", "@external(\"http_handler\", \"get_method\")"),
        ("env", "fd_write", "//go:wasmimport wasi_snapshot_preview1 fd_write"),
        ("http-handler", "log", "the module's name must be exactly `http_handler`"),
        ("http_handlers", "log", "the module's name must be exactly `http_handler`"),
        ("wbg", "__wbg_new_1", "wasm-bindgen"),
        ("__wbindgen_placeholder__", "__wbindgen_describe", "cargo tree -i wasm-bindgen"),
        ("./guest_bg.js", "__wbindgen_throw", "wasm-bindgen"),
        ("gojs", "syscall/js.valueGet", "-buildmode=c-shared"),
        ("go", "debug", "-buildmode=c-shared"),
        ("wasi_unstable", "fd_write", "preview 0"),
        ("wasi:http/types@0.2.0", "[constructor]fields", "component model"),
        ("wasi:cli/environment@0.2.0", "fd_write", "component model"),
        ("cm32p2|wasi:io/streams@0.2", "x", "component model"),
        ("wasi_snapshot_preview2", "x", "component model"),
        ("$root", "x", "component model"),
        ("wasix_32v1", "thread_spawn_v2", "WASIX"),
        ("wasi", "thread-spawn", "wasm32-wasip1-threads"),
        ("wasi_ephemeral_nn", "load", "WASI proposal"),
        ("wasm:js-string", "length", "JavaScript's string built-ins"),
        ("a", "b", "Emscripten's minified names"),
        ("asm2wasm", "f64-rem", "an old version of Emscripten"),
        ("fastly_http_req", "body_downstream_get", "Fastly Compute"),
        ("spin_http", "handle-http-request", "Spin"),
        ("fermyon:spin/http", "send", "Spin"),
        ("wapc", "__host_call", "waPC"),
        ("ic0", "msg_reply", "another platform"),
        ("something", "else", "only functions of `http_handler` and `wasi_snapshot_preview1`"),
    ] {
        assert_import_fault(
            &func(module, name),
            &[&format!("the import `{module}.{name}` (function) is not part"), part],
        );
    }
    assert_import_fault(
        r#"(import "env" "abort" (func (param i32 i32 i32 i32)))"#,
        &["`env.abort`", "--use abort="],
    );
}

#[test]
fn imports_other_than_functions_are_refused_with_their_cause() {
    for (import, parts) in [
        (r#"(import "env" "memory" (memory 1))"#, ["`env.memory` (memory)", "--import-memory"]),
        (
            r#"(import "env" "memory" (memory 1 2 shared))"#,
            ["`env.memory` (memory)", "build without threads"],
        ),
        (r#"(import "a" "a" (memory 1))"#, ["`a.a` (memory)", "minified"]),
        (r#"(import "env" "__indirect_function_table" (table 1 funcref))"#, ["(table)", "--import-table"]),
        (r#"(import "env" "__stack_pointer" (global (mut i32)))"#, ["(global)", "dynamically linked"]),
        (r#"(import "GOT.mem" "x" (global (mut i32)))"#, ["(global)", "dynamically linked"]),
        (r#"(import "env" "x" (global i32))"#, ["(global)", "get_config"]),
        (r#"(import "env" "__cpp_exception" (tag (param i32)))"#, ["(tag)", "-fno-exceptions"]),
    ] {
        // A re-exported import counts as an exported memory, so the exports are complete here.
        let memory_first = if import.contains("(memory") { "(export \"memory2\" (memory 0))" } else { "" };
        assert_import_fault(&format!("{import} {memory_first}"), &parts);
    }
}
