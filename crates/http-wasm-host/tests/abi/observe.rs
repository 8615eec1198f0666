//! Tracing what a guest does.

use std::sync::{Arc, Mutex};

use http_wasm_host::{CallResult, Guest, HeaderChange, InMemoryHost, Outcome, Phase, TraceEvent};

use crate::support::{ByHand, block_on, engine};

const CALLS: &str = r#"(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "get_status_code" (func $get_status_code (result i32)))
  (import "http_handler" "get_header_values" (func $values (param i32 i32 i32 i32 i32) (result i64)))
  (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-user") (data (i32.const 16) "te")
  (func (export "_initialize") (drop (call $enable_features (i32.const 3))))
  (func (export "handle_request") (result i64)
    ;; The value overwrites the name.
    (drop (call $values (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 0) (i32.const 64)))
    (call $set (i32.const 0) (i32.const 16) (i32.const 2) (i32.const 0) (i32.const 3))
    (drop (call $read_body (i32.const 0) (i32.const 64) (i32.const 8)))
    i64.const 0x500000001)
  (func (export "handle_response") (param i32 i32)
    (drop (call $get_status_code))
    (call $set (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0))))"#;

/// Loads the guest and lets it handle a request. Returns the trace as text.
fn traced(wat: &str, host: InMemoryHost) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    let builder = Guest::<InMemoryHost>::builder(engine());
    let traced = builder.trace(move |instance: u64, event: &TraceEvent<'_>| {
        let text = match event {
            TraceEvent::HostCall(call) => {
                let written = call.written().escape_ascii().to_string();
                format!("{call} wrote {written:?} note {:?}", call.note().as_deref().unwrap_or_default())
            }
            TraceEvent::Returned { phase, proceeds, req_ctx, error, .. } => {
                format!("{phase} returned {proceeds} {req_ctx} {}", error.is_some())
            }
            other => format!("{other:?}"),
        };
        notes.lock().unwrap().push(format!("{instance} {text}"));
    });
    let guest: Guest<InMemoryHost> = traced.load(wat.as_bytes()).unwrap();
    if let Outcome::Next(pinned) = block_on(guest.handle_request(host)).unwrap() {
        // The result is in the trace.
        let _ = block_on(pinned.handle_response());
    }
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[test]
fn calls_are_traced_in_order_with_arguments_result_and_note_from_start_up_on() {
    let mut host = InMemoryHost::new("POST", "/");
    host.request.headers.change(b"x-user", HeaderChange::Add(b"ann"));
    host.request.set_body("hello");
    let expected = [
        "0 Created",
        "0 Growth(TracedGrowth { is_table: false, from: 0, to: 65536, granted: true })",
        r#"0 enable_features(features: buffer_request | buffer_response) = 7 wrote "" note """#,
        "0 Started { error: None }",
        "0 Entered { phase: Request, trace_id: 0, req_ctx: 0, is_error: false }",
        r#"0 get_header_values(kind: request headers, name: "x-user", buf: 64 bytes) = 1, 4 wrote "ann\\x00" note """#,
        concat!(
            r#"0 set_header_value(kind: request headers, name: "te", value: "ann") wrote "" "#,
            r#"note "no effect: the host frames messages and manages connections itself""#,
        ),
        r#"0 read_body(kind: request, buf: 8 bytes) = 1, 5 wrote "hello" note """#,
        "0 handle_request returned true 5 false",
        "0 Entered { phase: Response, trace_id: 0, req_ctx: 5, is_error: false }",
        r#"0 get_status_code() = 200 wrote "" note """#,
        concat!(
            r#"0 set_header_value(kind: request headers, name: "ann", value: "") trapped: the request has "#,
            r#"already been passed to the next handler and can't be changed in handle_response wrote "" note """#,
        ),
        "0 handle_response returned true 5 true",
        "0 Dropped",
    ];
    assert_eq!(traced(CALLS, host), expected);
}

#[test]
fn a_call_that_waits_is_traced_again_once_it_is_answered() {
    let results = Arc::new(Mutex::new(Vec::new()));
    let seen = results.clone();
    let builder = Guest::<InMemoryHost>::builder(engine());
    let builder = builder.trace(move |_: u64, event: &TraceEvent<'_>| {
        if let TraceEvent::HostCall(call) = event
            && call.function.name == "read_body"
        {
            seen.lock().unwrap().push((call.phase, call.result.clone()));
        }
    });
    let guest: Guest<InMemoryHost> = builder.load(CALLS.as_bytes()).unwrap();
    let mut host = InMemoryHost::new("POST", "/");
    let feed = host.request.feed_body();
    host.request.headers.change(b"x-user", HeaderChange::Add(b"ann"));
    let mut call = ByHand::new(guest.handle_request(host));
    call.waits();
    feed.push("hi");
    feed.finish(None);
    assert!(matches!(call.ends(), Ok(Outcome::Next(_))));
    let results = results.lock().unwrap();
    let expected = (Some(Phase::Request), CallResult::Returned(1 << 32 | 2));
    assert_eq!(results.first(), Some(&(Some(Phase::Request), CallResult::Waits)));
    assert_eq!(results.last(), Some(&expected));
}

#[test]
fn values_that_do_not_fit_and_removals_of_nothing_are_noted() {
    let guest = r#"(module
      (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
      (import "http_handler" "remove_header" (func $remove (param i32 i32 i32)))
      (memory (export "memory") 1) (data (i32.const 0) "x_user")
      (func (export "handle_request") (result i64)
        (drop (call $get_uri (i32.const 64) (i32.const 4)))
        (call $remove (i32.const 0) (i32.const 0) (i32.const 6))
        i64.const 0)
      (func (export "handle_response") (param i32 i32)))"#;
    let all = traced(guest, InMemoryHost::new("GET", "/a/long/path")).join("\n");
    for part in [
        "nothing was written: 12 bytes don't fit into a buf_limit of 4",
        r#"name: "x_user") wrote "" note "no effect: there is no header of this name""#,
    ] {
        assert!(all.contains(part), "{all}");
    }
}
