//! Settings of guests on the command line, and precompiled guests.

use crate::support::{Server, exchange, guest, path, run};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// A guest that runs `body` in `handle_request`, and lets the request proceed.
fn wat(body: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 1)
          (func (export "handle_request") (result i64) {body} (i64.const 1))
          (func (export "handle_response") (param i32 i32)))"#
    )
}

#[tokio::test]
async fn a_guest_that_fails_closed_is_a_500_and_one_that_fails_open_is_skipped() {
    let traps = guest(&wat("unreachable"));
    for (policy, status) in [("closed", "500 Internal Server Error"), ("open", "200 OK")] {
        let server = Server::start(&["--guest", path(&traps), "--upstream", "hello", "--on-failure", policy]);
        let answer = exchange(server.addr, GET).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{policy}: {answer}");
    }
}

#[tokio::test]
async fn a_guest_is_stopped_at_the_deadline_of_the_command_line() {
    let loops = guest(&wat("(loop $again (br $again))"));
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let args = ["--guest", path(&loops), "--upstream", "hello", "--deadline", "50ms"];
    let server = Server::with_log(&args, &log);
    assert!(exchange(server.addr, GET).await.starts_with("HTTP/1.1 500 "));
    let log = std::fs::read_to_string(log.path()).expect("the log");
    assert!(log.contains("exceeded its compute limit of 50ms"), "{log}");
}

#[tokio::test]
async fn a_guest_over_the_memory_budget_or_its_own_memory_limit_does_not_start() {
    let large = guest(&wat("").replace("\"memory\") 1", "\"memory\") 100"));
    for limit in ["--guest-memory-budget", "--memory-bytes"] {
        let output = run(&["serve", "--listen", "127.0.0.1:0", "--guest", path(&large), limit, "1MiB"]);
        assert_eq!(output.status.code(), Some(65), "{limit}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("memory"), "{limit}: {output:?}");
    }
}

#[test]
fn invalid_sizes_and_durations_are_refused() {
    for (flag, value) in
        [("--deadline", "soon"), ("--deadline", "0s"), ("--memory-bytes", "much"), ("--log-rate", "-1")]
    {
        let output = run(&["serve", flag, value]);
        assert_eq!(output.status.code(), Some(2), "{flag} {value}");
    }
}

#[tokio::test]
async fn a_precompiled_guest_is_served_when_trusted_and_refused_otherwise() {
    let directory = tempfile::tempdir().expect("a directory");
    let compiled = directory.path().join("guest.compiled");
    let compiled = compiled.to_str().expect("a path in UTF-8");
    let source = guest(&wat(""));
    let output = run(&["compile", path(&source), "--output", compiled]);
    assert!(output.status.success(), "{output:?}");

    let server = Server::start(&["--guest", compiled, "--upstream", "hello", "--trust-precompiled"]);
    assert!(exchange(server.addr, GET).await.starts_with("HTTP/1.1 200 OK\r\n"));

    let output = run(&["serve", "--listen", "127.0.0.1:0", "--guest", compiled]);
    assert_eq!(output.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&output.stderr).contains("trust"), "{output:?}");
}

#[test]
fn compile_refuses_an_invalid_guest_and_writes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let target = directory.path().join("out");
    let source = guest("(module)");
    let output = run(&["compile", path(&source), "--output", target.to_str().expect("a path in UTF-8")]);
    assert_eq!(output.status.code(), Some(65));
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
}
