//! Watching what a guest calls.

use std::sync::{Arc, Mutex};

use http_wasm_host::{Guest, InMemoryHost, Outcome};

use crate::support::{block_on, engine};

const CALLS: &str = r#"(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "get_status_code" (func $get_status_code (result i32)))
  (import "http_handler" "get_header_names" (func $get_header_names (param i32 i32 i32) (result i64)))
  (memory (export "memory") 1)
  (func (export "_initialize") (drop (call $enable_features (i32.const 0))))
  (func (export "handle_request") (result i64)
    (drop (call $get_status_code))
    (drop (call $get_header_names (i32.const 0) (i32.const 0) (i32.const 64)))
    i64.const 1)
  (func (export "handle_response") (param i32 i32) (drop (call $get_status_code))))"#;

#[test]
fn each_call_is_seen_by_name_in_order_start_up_included() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    let builder = Guest::<InMemoryHost>::builder(engine());
    let watched = builder.on_host_call(move |function| notes.lock().unwrap().push(function));
    let guest: Guest<InMemoryHost> = watched.load(CALLS.as_bytes()).unwrap();
    assert_eq!(*seen.lock().unwrap(), ["enable_features"]);

    let outcome = block_on(guest.handle_request(InMemoryHost::new("GET", "/"))).unwrap();
    let Outcome::Next(pinned) = outcome else { panic!("the guest proceeds") };
    block_on(pinned.handle_response()).unwrap();
    let expected = ["enable_features", "get_status_code", "get_header_names", "get_status_code"];
    assert_eq!(*seen.lock().unwrap(), expected);
}
