//! Recording of exchanges with `serve`, and their replay.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use crate::support::{Server, eventually, exchange, guest, path, run};

/// Counts requests in its memory. The third one fails, after calls that depend on the clock, random numbers, the
/// request and the configuration. Each request grows the memory.
const FAILS_AT_THE_THIRD: &str = r#"(module
  (import "http_handler" "get_config" (func $get_config (param i32 i32) (result i32)))
  (import "http_handler" "get_header_values" (func $values (param i32 i32 i32 i32 i32) (result i64)))
  (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "log" (func $log (param i32 i32 i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1 3)
  (data (i32.const 0) "authorization") (data (i32.const 16) "x-time") (data (i32.const 32) "x-random")
  (global $count (mut i32) (i32.const 0))
  ;; Bytes as letters, so that they can be a header.
  (func $letters (param $at i32) (param $len i32)
    (loop $next
      (i32.store8 (local.get $at)
        (i32.add (i32.const 97) (i32.and (i32.load8_u (local.get $at)) (i32.const 15))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (local.tee $len (i32.sub (local.get $len) (i32.const 1))))))
  (func (export "_initialize")
    (drop (call $random (i32.const 100) (i32.const 8)))
    (call $letters (i32.const 100) (i32.const 8)))
  (func $fail unreachable)
  (func (export "handle_request") (result i64)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (drop (memory.grow (i32.const 1)))
    (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 200)))
    (call $letters (i32.const 200) (i32.const 8))
    (call $set (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 200) (i32.const 8))
    (call $set (i32.const 0) (i32.const 32) (i32.const 8) (i32.const 100) (i32.const 8))
    (drop (call $values (i32.const 0) (i32.const 0) (i32.const 13) (i32.const 300) (i32.const 200)))
    (call $log (i32.const 0) (i32.const 300) (i32.const 21))
    (call $log (i32.const 0) (i32.const 600) (call $get_config (i32.const 600) (i32.const 100)))
    (drop (call $read_body (i32.const 0) (i32.const 1000) (i32.const 4)))
    (if (i32.eq (global.get $count) (i32.const 3)) (then (call $fail)))
    i64.const 0x700000001)
  (func (export "handle_response") (param i32 i32)))"#;

fn recordings(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "har"));
    files.sort();
    files
}

fn entries(file: &Path) -> Vec<Value> {
    let mut har: Value = serde_json::from_slice(&std::fs::read(file).expect("a recording")).expect("JSON");
    let Value::Array(entries) = har["log"]["entries"].take() else { panic!("entries are a list") };
    entries
}

async fn post(server: &Server) -> String {
    let request = "POST /orders?id=7 HTTP/1.1\r\nhost: h\r\nauthorization: Bearer s3cr3t-t0ken-1\r\n\
                   content-length: 11\r\nconnection: close\r\n\r\nhello world";
    exchange(server.addr, request).await
}

fn text(output: &Output) -> (Option<i32>, String) {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&both).into_owned())
}

/// A server, and its recording of the guest's failure, in this directory.
async fn recorded(guest: &str, dir: &TempDir, args: &[&str]) -> (Server, PathBuf) {
    let recordings_dir = dir.path().join("recordings");
    let dir = recordings_dir.to_str().expect("text");
    let server = Server::start(
        &[&["--guest", guest, "--guest-config", "p4ssw0rd-in-config", "--record", dir], args].concat(),
    );
    for expected in ["200", "200", "500"] {
        let answer = post(&server).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
    let file = eventually(async || recordings(&recordings_dir).last().cloned()).await;
    (server, file)
}

#[tokio::test]
async fn a_failure_is_recorded_without_secrets_and_fails_again_in_the_same_way() {
    let (guest, dir) = (guest(FAILS_AT_THE_THIRD), TempDir::new().expect("a directory"));
    let (_server, file) = recorded(path(&guest), &dir, &[]).await;
    assert_eq!(recordings(file.parent().expect("a directory")).len(), 1, "only the failure is kept");
    let written = std::fs::read_to_string(&file).expect("a recording");
    for secret in ["s3cr3t", "t0ken", "p4ssw0rd"] {
        assert!(!written.contains(secret), "{secret}: {written}");
    }
    let har: Value = serde_json::from_str(&written).expect("JSON");
    let entry = &har["log"]["entries"][0];
    assert_eq!(entry["request"]["url"], "http://h/orders?id=7");
    assert_eq!(entry["request"]["postData"]["text"], "hello world");
    assert_eq!(entry["response"]["status"], 500);

    let replayed = run(&["replay", file.to_str().expect("text")]);
    let (code, shown) = text(&replayed);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("25 host calls in 3 exchanges"), "{shown}");
    assert!(shown.contains("the guest failed: guest") && shown.contains("unreachable"), "{shown}");
    assert!(shown.contains("no differences from the recording"), "{shown}");
    assert!(shown.contains("exchange 1, handle_request: get_header_values"), "{shown}");
}

#[tokio::test]
async fn another_guest_is_compared_call_by_call() {
    let (guest, dir) = (guest(FAILS_AT_THE_THIRD), TempDir::new().expect("a directory"));
    let (_server, file) = recorded(path(&guest), &dir, &["--record-unredacted"]).await;
    let file = file.to_str().expect("text");
    assert!(std::fs::read_to_string(file).expect("a recording").contains("s3cr3t-t0ken-1"));
    // It doesn't fail, sets another header, and reads a header that the recorded guest didn't read.
    let other = FAILS_AT_THE_THIRD
        .replace("(call $fail)", "")
        .replace("\"x-random\"", "\"x-chance\"")
        .replace(
            "(drop (call $read_body",
            "(drop (call $values (i32.const 0) (i32.const 700) (i32.const 4)
            (i32.const 800) (i32.const 50))) (drop (call $read_body",
        )
        .replace("(global $count", "(data (i32.const 700) \"host\") (global $count");
    let other = crate::support::guest(&other);
    let (code, shown) = text(&run(&["replay", file, "--guest", path(&other)]));
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("another guest"), "{shown}");
    let changed = "recorded set_header_value(0, \"x-random\", ";
    assert!(
        shown.contains(changed) && shown.contains("but called set_header_value(0, \"x-chance\""),
        "{shown}"
    );
    assert!(
        shown.contains("get_header_values(0, \"host\") was not recorded; the recording doesn't have"),
        "{shown}"
    );
    assert!(
        shown.contains(
            "exchange 3, handle_request, after call 8: get_header_values(0, \"host\") was not recorded
"
        ),
        "{shown}"
    );
    assert!(shown.contains("the recorded failure did not happen"), "{shown}");
}

#[tokio::test]
async fn all_exchanges_are_recorded_if_that_is_wanted_and_replay_with_the_next_handlers_response() {
    let (guest, dir) = (guest(FAILS_AT_THE_THIRD), TempDir::new().expect("a directory"));
    let (_server, file) = recorded(path(&guest), &dir, &["--record-exchanges", "all"]).await;
    // What ends within a second of a file is written to the next one. A busy machine may take longer.
    let files = eventually(async || {
        let files = recordings(file.parent().expect("a directory"));
        (files.iter().map(|file| entries(file).len()).sum::<usize>() == 5).then_some(files)
    })
    .await;
    let first = files[0].to_str().expect("text");
    let entries = entries(&files[0]);
    let added = |entry: &Value| {
        let headers = entry["request"]["headers"].as_array().expect("a list");
        headers.iter().any(|pair| pair["name"] == "x-time")
    };
    assert_eq!((added(&entries[0]), added(&entries[1])), (false, true), "before and after the guest");
    assert_eq!(entries[1]["response"]["status"], 200);
    let (code, shown) = text(&run(&["replay", first, "--trace"]));
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("  handle_request read_body(0)"), "{shown}");
    // A recording is also a HAR file for `run`.
    let ran = run(&["run", path(&guest), "--har", first]);
    assert!(text(&ran).1.contains("POST /orders?id=7"), "{}", text(&ran).1);
}

#[tokio::test]
async fn exchanges_that_end_soon_after_each_other_share_a_file_that_has_each_event_once() {
    let (guest, dir) = (guest(FAILS_AT_THE_THIRD), TempDir::new().expect("a directory"));
    let recordings_dir = dir.path().join("recordings");
    let server = Server::start(&[
        "--guest",
        path(&guest),
        "--record",
        recordings_dir.to_str().expect("text"),
        "--record-exchanges",
        "all",
    ]);
    for _ in 0..30 {
        post(&server).await;
    }
    let numbers = |file: &PathBuf| -> Vec<u64> {
        let numbers = entries(file).into_iter().map(|entry| entry["_exchange"].as_u64().expect("a number"));
        let mut numbers: Vec<_> = numbers.collect();
        numbers.dedup();
        numbers
    };
    let files = eventually(async || {
        let files = recordings(&recordings_dir);
        (files.iter().map(|file| numbers(file).len()).sum::<usize>() == 30).then_some(files)
    })
    .await;
    let largest = files.iter().max_by_key(|file| numbers(file).len()).expect("a file");
    let count = numbers(largest).len();
    assert!(count > 1 && numbers(largest) == (1..=count as u64).collect::<Vec<_>>());
    let (code, shown) = text(&run(&["replay", largest.to_str().expect("text"), "--json"]));
    assert_eq!(code, Some(0), "{shown}");
    let mut replayed = Vec::new();
    for line in shown.lines() {
        let report: Value = serde_json::from_str(line).expect("JSON");
        let recorded: Vec<u64> = serde_json::from_value(report["recorded"].clone()).expect("numbers");
        replayed.extend(recorded);
    }
    replayed.sort_unstable();
    assert_eq!(replayed, numbers(largest), "each exchange is that of one instance");
    // One of them alone.
    let (code, shown) = text(&run(&["replay", largest.to_str().expect("text"), "--exchange", "2"]));
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains(", number 2 in the recording\n"), "{shown}");
    let (code, shown) = text(&run(&["replay", largest.to_str().expect("text"), "--exchange", "99"]));
    assert!(code == Some(2) && shown.contains("the recording doesn't have it"), "{shown}");
}

#[test]
fn a_har_file_without_host_calls_is_refused_with_what_to_do() {
    let har = r#"{"log": {"version": "1.2", "creator": {"name": "WebInspector"}, "entries": [
        {"request": {"method": "GET", "url": "http://h/"}, "response": {"status": 200}}]}}"#;
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("browser.har");
    std::fs::write(&file, har).expect("a file");
    let (code, shown) = text(&run(&["replay", file.to_str().expect("text")]));
    assert_eq!(code, Some(2), "{shown}");
    assert!(
        shown.contains("contains no host calls") && shown.contains("http-wasm run GUEST --har FILE"),
        "{shown}"
    );
}

/// Writes what a file says to its log, and fails if that begins with an x.
const READS_A_FILE: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "http_handler" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "rules.txt") (data (i32.const 100) "\c8\00\00\00\02\00\00\00\2c\01\00\00\40\00\00\00")
  (func $fail unreachable)
  (func (export "handle_request") (result i64)
    ;; Descriptor 3 is the directory.
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 0) (i64.const 2)
          (i64.const 0) (i32.const 0) (i32.const 80)) (then unreachable))
    (if (call $read (i32.load (i32.const 80)) (i32.const 100) (i32.const 2) (i32.const 84)) (then unreachable))
    (call $log (i32.const 0) (i32.const 200) (i32.const 2))
    (if (i32.eq (i32.load8_u (i32.const 200)) (i32.const 120)) (then (call $fail)))
    i64.const 1)
  (func (export "handle_response") (param i32 i32)))"#;

#[tokio::test]
async fn what_a_guest_reads_from_files_is_recorded() {
    let (guest, dir) = (guest(READS_A_FILE), TempDir::new().expect("a directory"));
    let data = TempDir::new().expect("a directory");
    let rules = data.path().join("rules.txt");
    std::fs::write(&rules, "x marks the place").expect("a file");
    let recordings_dir = dir.path().join("recordings");
    let server = Server::start(&[
        "--guest",
        path(&guest),
        "--mount",
        &format!("{}:/:ro", data.path().display()),
        "--record",
        recordings_dir.to_str().expect("text"),
    ]);
    let answer = post(&server).await;
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    let file = eventually(async || recordings(&recordings_dir).last().cloned()).await;
    // The file needn't be there any more.
    std::fs::remove_file(&rules).expect("it can be removed");
    let (code, shown) = text(&run(&["replay", file.to_str().expect("text"), "--trace"]));
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("3 host calls in 1 exchange\n"), "{shown}");
    assert!(
        shown.contains("path_open(3, 0, 0, \"rules.txt\")") && shown.contains("log(0, \"x \")"),
        "{shown}"
    );
    assert!(shown.contains("unreachable") && shown.contains("no differences from the recording"), "{shown}");
}

#[tokio::test]
async fn trailers_are_recorded_for_a_guest_that_asks_for_them() {
    let (guest, dir) = (guest(FAILS_AT_THE_THIRD), TempDir::new().expect("a directory"));
    let recordings_dir = dir.path().join("recordings");
    let recorded = recordings_dir.to_str().expect("text");
    let server = Server::start(&["--guest", path(&guest), "--record", recorded, "--record-exchanges", "all"]);
    let request = "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
                   3\r\nabc\r\n0\r\nx-sum: 6\r\nx-api-key: s3cr3t-t0ken-1\r\n\r\n";
    exchange(server.addr, request).await;
    let file = eventually(async || recordings(&recordings_dir).last().cloned()).await;
    let entries = entries(&file);
    for entry in &entries {
        let trailers = entry["request"]["_trailers"].as_array().unwrap_or_else(|| panic!("{entry}"));
        assert_eq!(trailers[0], serde_json::json!({ "name": "x-sum", "value": "6" }));
        assert_eq!(trailers[1]["value"].as_str().map(str::len), Some(14));
        assert_ne!(trailers[1]["value"], "s3cr3t-t0ken-1");
    }
    let asks = r#"(drop (call $values (i32.const 2) (i32.const 700) (i32.const 5) (i32.const 800)
        (i32.const 50))) (call $log (i32.const 0) (i32.const 800) (i32.const 1))"#;
    let other = FAILS_AT_THE_THIRD
        .replace("i64.const 0x700000001", &format!("{asks} i64.const 0x700000001"))
        .replace("(global $count", "(data (i32.const 700) \"x-sum\") (global $count");
    let other = crate::support::guest(&other);
    let args = ["replay", file.to_str().expect("text"), "--guest", path(&other), "--trace"];
    let (code, shown) = text(&run(&args));
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("get_header_values(2, \"x-sum\") was not recorded\n"), "{shown}");
    assert!(shown.contains("handle_request log(0, \"6\")"), "{shown}");
}

/// A guest with this body of `handle_request`. Values that it asks for go to 200, and the URI has 12 bytes.
fn asks(body: &str) -> NamedTempFile {
    guest(&format!(
        r#"(module
          (import "http_handler" "get_method" (func $method (param i32 i32) (result i32)))
          (import "http_handler" "get_uri" (func $uri (param i32 i32) (result i32)))
          (import "http_handler" "get_header_values" (func $values (param i32 i32 i32 i32 i32) (result i64)))
          (import "http_handler" "log" (func $log (param i32 i32 i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "host") (data (i32.const 16) "a line")
          (data (i32.const 32) "\10\00\00\00\06\00\00\00")
          (func (export "handle_request") (result i64) {body} i64.const 1)
          (func (export "handle_response") (param i32 i32)))"#
    ))
}

/// A recording of one request to the guest.
async fn recording_of(guest: &NamedTempFile, dir: &TempDir) -> PathBuf {
    let recordings_dir = dir.path().join("recordings");
    let dir = recordings_dir.to_str().expect("text");
    let server = Server::start(&["--guest", path(guest), "--record", dir, "--record-exchanges", "all"]);
    post(&server).await;
    eventually(async || recordings(&recordings_dir).last().cloned()).await
}

/// Calls that ask for the method, the URI, and the header `host`, with room for this many bytes, one after the other.
/// Those of the URI and the header are followed by one that logs the value.
fn lookups(method: &[u32], uri: &[u32], host: &[u32]) -> NamedTempFile {
    let all = |call: &str, rooms: &[u32]| -> String {
        rooms.iter().map(|room| format!("(drop (call {call} (i32.const 200) (i32.const {room})))")).collect()
    };
    let method = all("$method", method);
    let uri = all("$uri", uri);
    let host = all("$values (i32.const 0) (i32.const 0) (i32.const 4)", host);
    asks(&format!(
        "{method} {uri} (call $log (i32.const 0) (i32.const 200) (i32.const 12))
         {host} (call $log (i32.const 0) (i32.const 200) (i32.const 1))"
    ))
}

#[tokio::test]
async fn a_guest_may_ask_for_a_value_with_another_buffer_size_than_the_recorded_one() {
    let dir = TempDir::new().expect("a directory");
    let file = recording_of(&lookups(&[0], &[0, 50], &[50]), &dir).await;
    let file = file.to_str().expect("text");
    let rooms: [(&[u32], &[u32]); 4] =
        [(&[0, 50], &[50]), (&[12], &[2]), (&[3, 12], &[0, 2]), (&[0, 11, 50], &[0, 1, 50])];
    for (uri, host) in rooms {
        let other = lookups(&[0], uri, host);
        let (code, shown) = text(&run(&["replay", file, "--guest", path(&other), "--trace"]));
        assert_eq!(code, Some(0), "{uri:?} {host:?}: {shown}");
        assert!(shown.contains("no differences from the recording"), "{shown}");
        assert!(shown.contains("log(0, \"/orders?id=7\")") && shown.contains("log(0, \"h\")"), "{shown}");
    }
    // Without room, nothing is written, as the log shows.
    let other = lookups(&[0], &[0, 11], &[50]);
    let (code, shown) = text(&run(&["replay", file, "--guest", path(&other)]));
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains(r#"but called log(0, "\x00\x00\x00"#), "{shown}");
    assert!(!shown.contains("no room"), "{shown}");
}

#[tokio::test]
async fn a_value_of_which_only_the_length_is_recorded_was_not_recorded() {
    let dir = TempDir::new().expect("a directory");
    let file = recording_of(&lookups(&[0], &[50], &[50]), &dir).await;
    let file = file.to_str().expect("text");
    for method in [&[50][..], &[0, 50]] {
        let other = lookups(method, &[50], &[50]);
        let (code, shown) = text(&run(&["replay", file, "--guest", path(&other)]));
        assert_eq!(code, Some(1), "{shown}");
        assert!(
            shown.contains("\n1 difference:\n") && shown.contains("get_method() was not recorded\n"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_write_that_failed_fails_again() {
    let dir = TempDir::new().expect("a directory");
    // There is no descriptor 9. The guest logs the error number, as a character.
    let guest = asks(
        "(i32.store8 (i32.const 200) (i32.add (i32.const 48)
           (call $write (i32.const 9) (i32.const 32) (i32.const 1) (i32.const 100))))
         (call $log (i32.const 0) (i32.const 200) (i32.const 1))",
    );
    let file = recording_of(&guest, &dir).await;
    let (code, shown) = text(&run(&["replay", file.to_str().expect("text"), "--trace"]));
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("fd_write(9, \"a line\")") && shown.contains("log(0, \"8\")"), "{shown}");
}
