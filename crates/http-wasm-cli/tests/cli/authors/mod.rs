//! Commands for authors of guests: `new`, `run`, `test` and `profile`.

mod broken;
mod mistakes;
mod new;
mod profile;
mod run;
mod test;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Output;

use tempfile::NamedTempFile;

use crate::support::{guest, path, run};

/// Imports and strings for the guests of these tests. Strings are 32 bytes apart, and memory from 1024 on is free.
const PRELUDE: &str = r#"
  (import "http_handler" "enable_features" (func $features (param i32) (result i32)))
  (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
  (import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
  (import "http_handler" "log" (func $log (param i32 i32 i32)))
  (import "http_handler" "get_header_values" (func $values (param i32 i32 i32 i32 i32) (result i64)))
  (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
  (import "http_handler" "add_header_value" (func $add (param i32 i32 i32 i32 i32)))
  (import "http_handler" "set_method" (func $set_method (param i32 i32)))
  (import "http_handler" "remove_header" (func $remove (param i32 i32 i32)))
  (import "http_handler" "read_body" (func $read (param i32 i32 i32) (result i64)))
  (import "http_handler" "write_body" (func $write (param i32 i32 i32)))
  (import "http_handler" "set_status_code" (func $status (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-user") (data (i32.const 32) "ann") (data (i32.const 64) "x_user")
  (data (i32.const 96) "content-type") (data (i32.const 128) "text/html") (data (i32.const 160) "content-length")
  (data (i32.const 192) "12") (data (i32.const 224) "prefix: ") (data (i32.const 256) "http://other/new")
  (data (i32.const 288) "get") (data (i32.const 320) "via")"#;

/// A guest with these function bodies. That of `handle_request` ends with its result.
fn of(on_request: &str, on_response: &str) -> NamedTempFile {
    guest(&format!(
        r#"(module {PRELUDE}
          (func (export "handle_request") (result i64) {on_request})
          (func (export "handle_response") (param i32 i32) {on_response}))"#
    ))
}

/// A guest that reads the request's body into a buffer of this size at this address.
fn reads(address: i32, size: u32) -> NamedTempFile {
    let call =
        format!("(drop (call $read (i32.const 0) (i32.const {address}) (i32.const {size}))) i64.const 1");
    of(&call, "")
}

fn file(suffix: &str, content: &str) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(suffix).tempfile().expect("a temporary file");
    file.write_all(content.as_bytes()).expect("the file takes it");
    file
}

/// Runs the binary, and returns its stdout and stderr as text, and its exit code.
fn output(args: &[&str]) -> (String, String, Option<i32>) {
    let Output { status, stdout, stderr } = run(args);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(stdout), text(stderr), status.code())
}

/// The directory of the examples.
fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guests/examples")
}

/// The stdout of `run GUEST --trace` with these arguments.
fn traced(guest: &NamedTempFile, args: &[&str]) -> String {
    output(&[&["run", path(guest), "--trace"], args].concat()).0
}

/// Checks that the trace contains all of `parts`, in this order.
#[track_caller]
fn explains(trace: &str, parts: &[&str]) {
    let mut rest = trace;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => panic!("{part:?} is missing after what precedes it:\n{trace}"),
        }
    }
}
