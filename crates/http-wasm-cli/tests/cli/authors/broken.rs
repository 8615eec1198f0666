//! Guests that don't do what their authors meant, and how the trace explains it.

use super::{explains, of, reads, traced};

#[test]
fn the_trace_explains_a_response_change_without_buffer_response() {
    let guest = of(
        "i64.const 1",
        "(call $set (i32.const 1) (i32.const 96) (i32.const 12) (i32.const 128) (i32.const 9))",
    );
    explains(
        &traced(&guest, &[]),
        &[
            "handle_response(req_ctx: 0, is_error: false)",
            r#"set_header_value(kind: response headers, name: "content-type", value: "text/html") trapped: "#,
            "only with the feature buffer_response",
            "failed: ",
            "500 Internal Server Error",
        ],
    );
}

#[test]
fn the_trace_explains_features_enabled_too_late() {
    let guest = of("i64.const 1", "(drop (call $features (i32.const 2))) (call $status (i32.const 404))");
    explains(
        &traced(&guest, &[]),
        &[
            "handle_response",
            "enable_features(features: buffer_response) = ",
            "note: no effect: it is too late; enable features in handle_request or at start-up",
            "set_status_code(status: 404) trapped: ",
        ],
    );
}

#[test]
fn the_trace_explains_a_denial_that_lets_the_request_proceed() {
    let guest = of(
        "(call $status (i32.const 403)) (call $write (i32.const 1) (i32.const 32) (i32.const 3)) i64.const 1",
        "",
    );
    explains(
        &traced(&guest, &[]),
        &[
            "set_status_code(status: 403)",
            "note: no effect: the request proceeds, so the next handler's status counts; return 0 to stop it",
            "write_body(kind: response, body: \"ann\")",
            "note: these bytes come before the next handler's body",
            "next 1, req_ctx 0: the request proceeds",
            "annhello world",
        ],
    );
}

#[test]
fn the_trace_explains_a_request_change_after_forwarding() {
    let guest = of(
        "(drop (call $features (i32.const 3))) i64.const 1",
        "(call $set (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 32) (i32.const 3))",
    );
    explains(
        &traced(&guest, &[]),
        &[
            "next handler",
            r#"set_header_value(kind: request headers, name: "x-user", value: "ann") trapped: the request has"#,
            "can't be changed in handle_response",
        ],
    );
}

#[test]
fn the_trace_explains_a_body_consumed_without_buffer_request() {
    explains(
        &traced(&reads(1024, 1024), &["-d", "a=b"]),
        &[
            r#"read_body(kind: request, buf: 1024 bytes) = 3 bytes and the end of the body: "a=b""#,
            "note: consumed: without buffer_request the next handler gets only the rest",
        ],
    );
    // With the feature, there is no note.
    let guest = of(
        "(drop (call $features (i32.const 1)))
         (drop (call $read (i32.const 0) (i32.const 1024) (i32.const 1024))) i64.const 1",
        "",
    );
    let trace = traced(&guest, &["-d", "a=b"]);
    assert!(!trace.contains("note:"), "{trace}");
}

#[test]
fn the_trace_explains_a_buffer_that_is_too_small() {
    let guest = of("(drop (call $get_uri (i32.const 1024) (i32.const 8))) i64.const 1", "");
    explains(
        &traced(&guest, &["/a/long/path"]),
        &[
            "get_uri(buf: 8 bytes) = 12, the length of the value",
            "note: nothing was written: 12 bytes don't fit into a buf_limit of 8",
        ],
    );
}

#[test]
fn the_trace_explains_a_misspelt_name() {
    let guest = of(
        "(drop (call $values (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 1024) (i32.const 64)))
         (call $remove (i32.const 0) (i32.const 64) (i32.const 6)) i64.const 1",
        "",
    );
    explains(
        &traced(&guest, &["-H", "x-user: root"]),
        &[
            r#"get_header_values(kind: request headers, name: "x_user", buf: 64 bytes) = none"#,
            "note: there is no header of this name",
            r#"remove_header(kind: request headers, name: "x_user")"#,
            "note: no effect: there is no header of this name",
            "x-user: root",
        ],
    );
}

#[test]
fn the_trace_explains_a_wrong_kind() {
    let guest = of(
        "(call $set (i32.const 1) (i32.const 96) (i32.const 12) (i32.const 128) (i32.const 9)) i64.const 1",
        "",
    );
    explains(
        &traced(&guest, &[]),
        &[
            r#"set_header_value(kind: response headers, name: "content-type", value: "text/html")"#,
            r#"note: replaced: the next handler's response has content-type too ("text/plain"); set it in handle_resp"#,
        ],
    );
}

#[test]
fn the_trace_explains_a_result_with_swapped_halves() {
    let guest = of("(i64.shl (i64.const 1) (i64.const 32))", "");
    explains(
        &traced(&guest, &[]),
        &[
            "next 0, req_ctx 1: the guest responds itself",
            "note: stopped with a req_ctx, which is ignored: the result's low 32 bits are `next`",
            "the next handler wasn't called",
        ],
    );
}

#[test]
fn the_trace_explains_an_ignored_framing_header() {
    let guest = of(
        "(call $set (i32.const 0) (i32.const 160) (i32.const 14) (i32.const 192) (i32.const 2)) i64.const 1",
        "",
    );
    explains(
        &traced(&guest, &[]),
        &[
            r#"name: "content-length", value: "12")"#,
            "note: no effect: the host frames messages and manages connections itself",
        ],
    );
}

#[test]
fn the_trace_explains_a_pointer_out_of_bounds() {
    let guest = of("(call $set_uri (i32.const 65535) (i32.const 16)) i64.const 1", "");
    explains(
        &traced(&guest, &[]),
        &[
            "set_uri(uri: 16 bytes at 65535, out of bounds) trapped: uri is out of bounds: 16 bytes at offset 65535",
            "failed: ",
            "set_uri",
        ],
    );
}

#[test]
fn the_trace_explains_a_prefix_that_replaces_the_body() {
    let guest = of("(call $write (i32.const 0) (i32.const 224) (i32.const 8)) i64.const 1", "");
    explains(
        &traced(&guest, &["-d", "a=b"]),
        &[
            r#"write_body(kind: request, body: "prefix: ")"#,
            "note: this starts a new request body; the unread rest of the original is dropped",
        ],
    );
}

#[test]
fn the_trace_explains_a_request_change_by_a_guest_that_answers() {
    let guest = of(
        "(call $set (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 32) (i32.const 3)) i64.const 0",
        "",
    );
    explains(
        &traced(&guest, &[]),
        &[
            r#"name: "x-user", value: "ann")"#,
            "note: no effect: the guest responds itself, so the next handler isn't called",
        ],
    );
}

#[test]
fn the_trace_explains_a_loop_that_waits_for_zero_bytes_instead_of_eof() {
    // The guest stops only when it reads nothing more, so it reads again after the end.
    let guest = of(
        "(loop $again
           (br_if $again (i32.wrap_i64 (call $read (i32.const 0) (i32.const 1024) (i32.const 2)))))
         i64.const 1",
        "",
    );
    explains(
        &traced(&guest, &["-d", "abc"]),
        &[
            r#"= 2 bytes, more to come: "ab""#,
            r#"= 1 byte and the end of the body: "c""#,
            r#"= 0 bytes and the end of the body: """#,
        ],
    );
}

#[test]
fn the_trace_explains_an_unknown_log_level() {
    let guest = of("(call $log (i32.const 4) (i32.const 32) (i32.const 3)) i64.const 1", "");
    explains(
        &traced(&guest, &[]),
        &[r#"log(level: 4 (unknown), message: "ann")"#, "note: not logged: the level is none of debug (-1)"],
    );
}
