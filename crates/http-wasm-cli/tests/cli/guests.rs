//! Guests in front of a backend, and `check`.

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::support::{ADDS_CONFIG, Server, echoed, exchange, guest, path, run, values};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
}

/// Answers with the client's address.
const ANSWERS_ADDRESS: &str = r#"(module
  (import "http_handler" "get_source_addr" (func $addr (param i32 i32) (result i32)))
  (import "http_handler" "write_body" (func $write (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "handle_request") (result i64)
    (call $write (i32.const 1) (i32.const 0) (call $addr (i32.const 0) (i32.const 64)))
    i64.const 0)
  (func (export "handle_response") (param i32 i32)))"#;

const TRAPS: &str = r#"(module (memory (export "memory") 1)
  (func (export "handle_request") (result i64) unreachable)
  (func (export "handle_response") (param i32 i32)))"#;

#[tokio::test]
async fn the_embedded_guest_answers_rejects_and_rewrites() {
    let server = Server::start(&[]);
    let hello = exchange(server.addr, get("/hello")).await;
    assert!(
        hello.starts_with("HTTP/1.1 200 OK\r\n") && hello.ends_with("\r\n\r\nhello from the guest\n"),
        "{hello}"
    );
    let admin = exchange(server.addr, get("/admin/users")).await;
    assert!(admin.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{admin}");
    let rewritten = exchange(server.addr, get("/v1/users?a=b")).await;
    assert!(rewritten.contains("\r\nx-guest: welcome\r\n"), "{rewritten}");
    let echo = echoed(&rewritten);
    assert_eq!(echo["uri"], "/users?a=b");
    assert_eq!(values(&echo, "x-api-version"), ["1"]);
}

#[tokio::test]
async fn the_first_guest_of_a_chain_is_outermost_and_each_has_its_own_configuration() {
    let (first, second) = (guest(ADDS_CONFIG), guest(ADDS_CONFIG));
    let server = Server::start(&[
        "--guest",
        path(&first),
        "--guest-config",
        "one",
        "--guest",
        path(&second),
        "--guest-config",
        "two",
    ]);
    let echo = echoed(&exchange(server.addr, get("/")).await);
    assert_eq!(values(&echo, "x-config"), ["one", "two"]);
}

#[tokio::test]
async fn a_guest_sees_the_client_address() {
    let guest = guest(ANSWERS_ADDRESS);
    let server = Server::start(&["--guest", path(&guest)]);
    let answer = exchange(server.addr, get("/")).await;
    assert!(answer.contains("\r\n\r\n127.0.0.1:"), "{answer}");
}

#[tokio::test]
async fn a_trap_is_a_500_without_a_body_and_the_server_keeps_serving() {
    let guest = guest(TRAPS);
    let server = Server::start(&["--guest", path(&guest)]);
    for _ in 0..3 {
        let answer = exchange(server.addr, get("/")).await;
        assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
    }
}

#[test]
fn check_reports_the_imports_and_memory_of_a_guest() {
    let guest = guest(ADDS_CONFIG);
    let output = run(&["check", path(&guest)]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("a valid guest") && text.contains("http_handler.get_config"), "{text}");

    let output = run(&["check", "--json", path(&guest)]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["valid"], true);
    assert_eq!(report["imports"][1], "http_handler.add_header_value");
    assert_eq!(report["needs_wasi"], false);
    assert_eq!(report["memory_bytes_at_start"], 65_536);
}

/// A guest that runs `start` when it is initialised.
fn initialised(start: &str) -> NamedTempFile {
    guest(&format!(
        r#"(module
          (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func $seed (drop (call $random (i32.const 0) (i32.const 8))))
          (func (export "_initialize") {start})
          (func (export "handle_request") (result i64) (i64.const 1))
          (func (export "handle_response") (param i32 i32)))"#
    ))
}

#[test]
fn check_reports_whether_a_guest_can_have_a_snapshot() {
    let report = |args: &[&str], guest: &NamedTempFile| {
        let output = run(&[&["check", path(guest)], args].concat());
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, text, _) =
        report(&["--snapshot"], &initialised("(memory.fill (i32.const 0) (i32.const 7) (i32.const 9))"));
    assert!(code == Some(0) && text.contains("snapshot           yes: saves each instance"), "{text}");
    let (code, text, _) = report(&["--snapshot"], &guest(ADDS_CONFIG));
    assert!(code == Some(0) && text.contains("not needed: nothing runs at start-up"), "{text}");

    let seeds = initialised("(call $seed)");
    let (code, text, stderr) = report(&["--snapshot"], &seeds);
    assert_eq!(code, Some(65));
    for part in ["a valid guest", "snapshot           no: it called `random_get`", "`shared-seed`", " - seed"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(stderr.contains("can't be snapshotted"), "{stderr}");
    assert_eq!(report(&["--snapshot=shared-seed"], &seeds).0, Some(0));
    let (code, text, _) = report(&["--json", "--snapshot"], &seeds);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &report["valid"], &report["snapshot"]["answer"]),
        (Some(65), &true.into(), &"refused".into())
    );
    assert!(report["snapshot"]["calls"][0].as_str().unwrap().ends_with(" - seed"), "{report}");
}

#[test]
fn an_invalid_guest_exits_with_65_and_reports_all_faults() {
    let guest = guest(r#"(module (import "env" "abort" (func)) (func (export "handle_request")))"#);
    for command in [&["serve", "--guest", path(&guest)][..], &["check", path(&guest)]] {
        let output = run(command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(65), "{stderr}");
        for part in ["env.abort", "handle_request", "handle_response", "memory"] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
    }
}

#[test]
fn check_as_json_lists_the_faults_of_an_invalid_guest() {
    let guest = guest("(module)");
    let output = run(&["check", "--json", path(&guest)]);
    assert_eq!(output.status.code(), Some(65));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    assert_eq!(report["valid"], false);
    assert!(report["error"].as_str().is_some_and(|error| error.contains("handle_request")), "{report}");
}

/// Logs its name, which is its first argument, writes a line to stderr, and traps.
const LOGS_AND_TRAPS: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "http_handler" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 32)
  (data (i32.const 16) "\20\00\00\00\09\00\00\00") (data (i32.const 32) "on stderr")
  (func $fails unreachable)
  (func (export "_initialize")
    (drop (call $args (i32.const 64) (i32.const 128)))
    (call $log (i32.const 0) (i32.const 128) (i32.const 4))
    (drop (call $write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 8)))
    (call $fails))
  (func (export "handle_request") (result i64) (i64.const 1))
  (func (export "handle_response") (param i32 i32)))"#;

#[test]
fn check_shows_the_output_of_a_failing_start_up_and_its_backtrace() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.wat");
    std::fs::write(&file, LOGS_AND_TRAPS).unwrap();
    let output = run(&["check", file.to_str().unwrap()]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(65), "{stderr}");
    // The first argument is its name.
    for part in ["http_wasm::guest", "auth", "on stderr", "its stderr: on stderr", "\n   0: ", " - fails"] {
        assert!(stderr.contains(part), "{part:?}: {stderr}");
    }
    let output = run(&["check", "--memory-bytes", "1MiB", file.to_str().unwrap()]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    for part in ["starts at 2 MiB", "the limit is 1 MiB", "`memory_bytes`"] {
        assert!(stderr.contains(part), "{part:?}: {stderr}");
    }
}

/// Lets requests proceed until its `main` has run, which the host doesn't call.
const UNREGISTERED: &str = r#"(module
  (import "http_handler" "set_status_code" (func $status (param i32)))
  (memory (export "memory") 1) (table 2 funcref) (elem (i32.const 1) $deny) (type $t (func))
  (func $deny (call $status (i32.const 403)))
  (func (export "main") (param i32 i32) (result i32) (i32.store (i32.const 0) (i32.const 1)) (i32.const 0))
  (func (export "handle_request") (result i64)
    (if (i32.load (i32.const 0)) (then (call_indirect (type $t) (i32.load (i32.const 0)))))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32)))"#;

#[test]
fn a_guest_whose_start_code_is_never_called_exits_with_65() {
    let guest = guest(UNREGISTERED);
    for command in
        [&["serve", "--listen", "127.0.0.1:0", "--guest", path(&guest)][..], &["check", path(&guest)]]
    {
        let output = run(command);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(65), "{stderr}");
        for part in ["does nothing", "`main`", "_initialize", "`--allow unregistered`"] {
            assert!(stderr.contains(part), "{part}: {stderr}");
        }
    }
    assert!(run(&["check", "--allow", "unregistered", path(&guest)]).status.success());
    let output = run(&["check", "--allow", "unregisterd", path(&guest)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("[possible values: unregistered, "));
}

const LATE_BUFFERING: &str = r#"(module
  (import "http_handler" "set_status_code" (func $status (param i32)))
  (memory (export "memory") 1)
  (func (export "handle_request") (result i64) (i64.const 1))
  (func (export "handle_response") (param i32 i32) (call $status (i32.const 500))))"#;

#[test]
fn check_warns_of_lints_and_refuses_them_with_strict() {
    let guest = guest(LATE_BUFFERING);
    let output = run(&["check", path(&guest)]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.starts_with("warning: `handle_response` calls `set_status_code`"), "{stderr}");
    assert!(stderr.ends_with("(`late-buffering`)\n"), "{stderr}");
    let report: Value = serde_json::from_slice(&run(&["check", "--json", path(&guest)]).stdout).unwrap();
    assert_eq!(report["warnings"][0]["lint"], "late-buffering");
    assert_eq!(run(&["check", "--strict", path(&guest)]).status.code(), Some(65));
}

#[test]
fn compile_applies_lints_before_it_writes_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("guest.cwasm");
    let compile = |guest: &NamedTempFile, flags: &[&str]| {
        let result = run(&[&["compile", path(guest), "-o", output.to_str().unwrap()], flags].concat());
        let written = std::fs::remove_file(&output).is_ok();
        (result.status.code(), written, String::from_utf8(result.stderr).unwrap())
    };
    let (code, written, stderr) = compile(&guest(UNREGISTERED), &[]);
    assert!(code == Some(65) && !written && stderr.contains("never called"), "{code:?}: {stderr}");
    let (code, written, stderr) = compile(&guest(UNREGISTERED), &["--allow", "unregistered"]);
    assert!(code == Some(0) && written && !stderr.contains("warning:"), "{code:?}: {stderr}");

    let late = guest(LATE_BUFFERING);
    let (code, written, stderr) = compile(&late, &[]);
    assert!(code == Some(0) && written && stderr.contains("warning: `handle_response` calls"), "{stderr}");
    let (code, written, _) = compile(&late, &["--strict"]);
    assert_eq!((code, written), (Some(65), false));

    // It may need something that only its server has.
    let (code, written, stderr) = compile(&initialised("unreachable"), &[]);
    assert!(code == Some(0) && written && stderr.contains("skipped the checks"), "{stderr}");
}

#[test]
fn the_guests_of_this_project_pass_check_strict() {
    let guests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests");
    let mut files: Vec<_> = std::fs::read_dir(guests)
        .unwrap()
        .flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "wat"))
        .collect();
    let kit = tempfile::tempdir().unwrap();
    for variant in ["conformance", "wasi"] {
        let file = kit.path().join(format!("{variant}.wasm"));
        assert!(run(&["tck", "guest", "--variant", variant, "-o", file.to_str().unwrap()]).status.success());
        files.push(file);
    }
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let output = run(&["check", "--strict", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    }
}
