//! Common mistakes, and the trace's hints at them.

use super::{explains, file, of, path, reads, traced};

#[test]
fn a_length_that_counts_the_nul_of_a_c_string_is_pointed_out() {
    // As `sizeof "x-user"` in C.
    let guest = of(
        "(drop (call $values (i32.const 0) (i32.const 0) (i32.const 7) (i32.const 1024) (i32.const 64))) i64.const 1",
        "",
    );
    explains(
        &traced(&guest, &["-H", "x-user: ann"]),
        &[
            r#"name: "x-user\0", buf: 64 bytes) = none"#,
            "note: finds nothing: the length of the name counts the NUL at its end",
        ],
    );
    let guest = of(
        "(call $set (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 32) (i32.const 4)) i64.const 1",
        "",
    );
    explains(
        &traced(&guest, &[]),
        &[
            r#"value: "ann\0") trapped: "#,
            "note: the length of the value counts the NUL at its end; pass the length without it",
        ],
    );
}

#[test]
fn an_array_that_is_too_large_for_the_stack_is_pointed_out() {
    // The stack pointer of a C guest, less 100,000 bytes.
    explains(
        &traced(&reads(-33440, 100_000), &["-d", "a=b"]),
        &[
            "trapped: buf is out of bounds",
            "note: the address is negative: a local variable that is too large",
        ],
    );
    // Slightly beyond the end, it is another mistake.
    let trace = traced(&reads(65536, 10), &["-d", "a=b"]);
    assert!(trace.contains("out of bounds") && !trace.contains("note:"), "{trace}");
}

#[test]
fn adding_to_a_header_that_a_client_can_send_is_pointed_out() {
    let add = |name: u32, len: u32| {
        of(
            &format!(
                "(call $add (i32.const 0) (i32.const {name}) (i32.const {len}) (i32.const 32) (i32.const 3))
                 i64.const 1"
            ),
            "",
        )
    };
    let guest = add(0, 6);
    explains(
        &traced(&guest, &["-H", "X-User: root"]),
        &[
            r#"add_header_value(kind: request headers, name: "x-user", value: "ann")"#,
            r#"note: the next handler gets the request's own value too ("root"); set_header_value replaces it"#,
        ],
    );
    let trace = traced(&guest, &[]);
    assert!(!trace.contains("note:"), "{trace}");
    // What everybody on the way adds to.
    let trace = traced(&add(320, 3), &["-H", "via: 1.1 other"]);
    assert!(trace.contains("via: 1.1 other") && !trace.contains("note:"), "{trace}");
}

#[test]
fn a_uri_of_another_server_is_pointed_out() {
    let guest = of("(call $set_uri (i32.const 256) (i32.const 16)) i64.const 1", "");
    explains(
        &traced(&guest, &[]),
        &[
            r#"set_uri(uri: "http://other/new")"#,
            "note: only its path and query are used: scheme and authority can't be changed",
            "GET /new HTTP/1.1",
            "host: localhost",
        ],
    );
}

#[test]
fn a_debug_message_that_hosts_drop_by_default_is_pointed_out() {
    let guest = of("(call $log (i32.const -1) (i32.const 32) (i32.const 3)) i64.const 1", "");
    explains(
        &traced(&guest, &[]),
        &[r#"log(level: debug, message: "ann")"#, "note: logged only if the host logs debug messages"],
    );
}

#[test]
fn a_method_in_lower_case_is_pointed_out() {
    let guest = of("(call $set_method (i32.const 288) (i32.const 3)) i64.const 1", "");
    explains(
        &traced(&guest, &["-d", "a=b"]),
        &[
            r#"set_method(method: "get")"#,
            "note: methods are case-sensitive: this isn't GET",
            "get / HTTP/1.1",
        ],
    );
}

#[test]
fn a_body_for_a_status_without_one_is_pointed_out() {
    let guest = of(
        "(call $status (i32.const 204)) (call $write (i32.const 1) (i32.const 32) (i32.const 3)) i64.const 0",
        "",
    );
    explains(
        &traced(&guest, &[]),
        &[r#"body: "ann")"#, "note: no effect: a response with status 204 has no body", "204 No Content"],
    );
}

#[test]
fn a_compressed_body_is_pointed_out() {
    let guest = of(
        "(drop (call $features (i32.const 2))) i64.const 1",
        "(drop (call $read (i32.const 1) (i32.const 1024) (i32.const 1024)))",
    );
    let response = |encoding: &str| {
        file(".http", &format!("HTTP/1.1 200 OK\r\n{encoding}content-length: 4\r\n\r\n\x1f\x0b\x08\0"))
    };
    let gzip = response("content-encoding: gzip\r\n");
    explains(
        &traced(&guest, &["--response", path(&gzip)]),
        &[
            "read_body(kind: response",
            "note: the body is compressed (content-encoding: gzip); remove accept-encoding from the request",
        ],
    );
    let trace = traced(&guest, &["--response", path(&response(""))]);
    assert!(trace.contains("read_body") && !trace.contains("note:"), "{trace}");
}

#[test]
fn an_error_of_the_next_handler_that_the_guest_takes_for_a_success_is_pointed_out() {
    // It acts only if `is_error` is set.
    let guest = of(
        "(drop (call $features (i32.const 2))) i64.const 1",
        "(if (local.get 1) (then (call $status (i32.const 503))))",
    );
    let bad = file(".http", "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    explains(
        &traced(&guest, &["--response", path(&bad)]),
        &[
            "handle_response(req_ctx: 0, is_error: false)",
            "note: nothing was done: is_error is only set if there is no response, and this one has status 502",
        ],
    );
}
