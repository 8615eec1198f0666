//! `bench`: reports, and errors if something can't be measured.

use std::io::Write as _;
use std::process::Output;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::support::{path, run};

fn file(suffix: &str, content: &[u8]) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(suffix).tempfile().expect("a temporary file");
    file.write_all(content).expect("the file takes it");
    file
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn failed(output: &Output) -> (String, Option<i32>) {
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    (text(&output.stderr), output.status.code())
}

/// Enables both features at start-up. Calls `get_header_values` twice, and `read_body` and `get_method` once per
/// request. Answers POST requests with 403, and lets all others proceed.
const READS: &str = r#"(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "get_method" (func $get_method (param i32 i32) (result i32)))
  (import "http_handler" "get_header_values" (func $values (param i32 i32 i32 i32 i32) (result i64)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "set_status_code" (func $set_status (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "host")
  (func (export "_initialize") (drop (call $enable_features (i32.const 3))))
  (func (export "handle_request") (result i64)
    (drop (call $values (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 64) (i32.const 64)))
    (drop (call $values (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 64) (i32.const 64)))
    (drop (call $read_body (i32.const 0) (i32.const 1024) (i32.const 1024)))
    (if (i32.eq (call $get_method (i32.const 64) (i32.const 64)) (i32.const 4))
      (then (call $set_status (i32.const 403)) (return (i64.const 0))))
    i64.const 1)
  (func (export "handle_response") (param i32 i32)))"#;

#[test]
fn bench_reports_phases_host_calls_instances_and_requests_per_second() {
    let guest = file(".wat", READS.as_bytes());
    let output = run(&["bench", "--json", "--duration", "1s", path(&guest)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    assert_eq!(report["request"], "GET /");
    assert_eq!(report["outcome"], "forwarded by the guest");
    let calls = serde_json::json!({ "get_header_values": 2, "get_method": 1, "read_body": 1 });
    assert_eq!(report["host_calls"], calls, "of one request, its start-up left out");
    for times in ["handle_request", "handle_response", "new_instance", "cold_burst", "warm_burst"] {
        let time = |of: &str| report[times][of].as_u64().unwrap_or_else(|| panic!("{times}.{of}: {report}"));
        assert!(time("samples") > 0 && time("median_nanoseconds") <= time("p99_nanoseconds"), "{report}");
    }
    assert!(report["handle_request"]["median_nanoseconds"].as_u64() > Some(0), "{report}");
    assert!(report["threads"].as_u64() >= Some(1), "{report}");
    for rate in ["requests_per_second_on_one_thread", "requests_per_second_per_thread"] {
        assert!(report[rate].as_f64() > Some(0.0), "{rate}: {report}");
    }
    if cfg!(target_os = "linux") {
        assert!(report["memory_bytes_per_idle_instance"].as_u64() > Some(0), "{report}");
        assert!(report["memory_bytes_left_per_instance"].is_u64(), "{report}");
    }
}

#[test]
fn bench_measures_a_guest_with_a_snapshot_or_says_why_it_cannot_have_one() {
    let guest = file(".wat", READS.as_bytes());
    let output = run(&["bench", "--duration", "1s", "--snapshot", path(&guest)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let clock = READS.replace(
        "(memory (export",
        r#"(import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
           (memory (export"#,
    );
    let clock = clock.replace(
        r#"(func (export "_initialize")"#,
        r#"(func (export "_initialize") (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 64)))"#,
    );
    let guest = file(".wat", clock.as_bytes());
    let (message, code) = failed(&run(&["bench", "--duration", "1s", "--snapshot", path(&guest)]));
    assert!(code == Some(65) && message.contains("shared-seed"), "{code:?}: {message}");
    let output = run(&["bench", "--duration", "1s", "--snapshot=shared-seed", path(&guest)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn bench_sends_the_request_of_the_file() {
    let guest = file(".wat", READS.as_bytes());
    let request = file(".http", b"POST /form HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\na=b");
    let output = run(&["bench", "--duration", "1s", "--request", path(&request), path(&guest)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = text(&output.stdout);
    let first = report.lines().next().unwrap_or_default();
    assert!(first.ends_with(": POST /form, 3 bytes of body, answered by the guest with 403"), "{report}");
    for part in
        ["handle_response        not called", "set_status_code", "requests/s each", "burst of 1000, cold"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
}

#[test]
fn bench_names_the_request_file_and_what_is_wrong_with_it() {
    let guest = file(".wat", READS.as_bytes());
    let (message, code) = failed(&run(&["bench", path(&guest), "--request", "/no/such.http"]));
    assert_eq!(
        (message.as_str(), code),
        ("error: --request /no/such.http: no such file or directory\n", Some(2))
    );

    let request = file(".http", b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nshort");
    let (message, code) = failed(&run(&["bench", path(&guest), "--request", path(&request)]));
    assert_eq!(code, Some(2));
    assert!(message.contains(path(&request)) && message.contains("content-length is 9"), "{message}");
}

#[test]
fn bench_of_a_guest_that_fails_exits_with_65_and_the_reason() {
    let traps = r#"(module (memory (export "memory") 1)
      (func (export "handle_request") (result i64) unreachable)
      (func (export "handle_response") (param i32 i32)))"#;
    let guest = file(".wat", traps.as_bytes());
    let (message, code) = failed(&run(&["bench", "--duration", "1s", path(&guest)]));
    assert_eq!(code, Some(65));
    assert!(message.starts_with("error: the guest fails on this request: "), "{message}");
    assert!(message.contains("unreachable"), "{message}");

    let (message, code) = failed(&run(&["bench", "/no/such.wasm"]));
    assert_eq!(
        (message.as_str(), code),
        ("error: guest /no/such.wasm: no such file or directory\n", Some(65))
    );
}
