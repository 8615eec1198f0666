//! Exchanges as they are kept and shown.

use super::{Dev, Project, answers, status};
use crate::support::{eventually, run};

/// Sets `x-user` on requests and `x-checked` on responses, after a line on stderr; traps for `/trap`, and answers
/// `/deny` itself without reading the body.
const FILTER: &str = r#"(module
  (import "http_handler" "enable_features" (func $features (param i32) (result i32)))
  (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
  (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
  (import "http_handler" "set_status_code" (func $status (param i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-user") (data (i32.const 16) "<i>ann</i>") (data (i32.const 32) "x-checked")
  (data (i32.const 48) "a line\0a") (data (i32.const 64) "\30\00\00\00\07\00\00\00")
  (func (export "_initialize") (drop (call $features (i32.const 2))))
  (func (export "handle_request") (result i64)
    (drop (call $get_uri (i32.const 1024) (i32.const 100)))
    (drop (call $write (i32.const 2) (i32.const 64) (i32.const 1) (i32.const 128)))
    (if (i32.eq (i32.load8_u (i32.const 1025)) (i32.const 116)) (then unreachable))
    (if (i32.eq (i32.load8_u (i32.const 1025)) (i32.const 100)) (then
      (call $status (i32.const 403))
      (return (i64.const 0))))
    (call $set (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 10))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32)
    (call $set (i32.const 1) (i32.const 32) (i32.const 9) (i32.const 16) (i32.const 10))))"#;

pub(super) fn filter() -> Project {
    Project::new(FILTER)
}

fn has_header(message: &serde_json::Value, name: &str) -> bool {
    message["headers"].as_array().is_some_and(|headers| headers.iter().any(|header| header[0] == name))
}

fn lines(exchange: &serde_json::Value) -> Vec<&str> {
    exchange["trace"].as_array().unwrap().iter().map(|entry| entry["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_exchange_is_kept_as_both_sides_saw_it_with_its_host_calls() {
    let project = filter();
    let mut dev = Dev::of(&project, &[]);
    assert_eq!(status(&dev.send("POST /a?b HTTP/1.1\r\nx-own: 1", "hello").await), 200);
    let kept = dev.exchange(1).await;
    let (client, next) = (&kept["client"], &kept["next"]);
    assert_eq!(client["request"]["line"], "POST /a?b HTTP/1.1");
    assert_eq!((&client["request"]["body"], &next["request"]["body"]), (&"hello".into(), &"hello".into()));
    assert!(has_header(&client["request"], "x-own") && has_header(&next["request"], "x-own"));
    assert!(!has_header(&client["request"], "x-user") && has_header(&next["request"], "x-user"), "{kept}");
    assert!(!has_header(&next["response"], "x-checked") && has_header(&client["response"], "x-checked"));
    assert_eq!(client["response"]["line"], "200 OK");
    assert!(client["response"]["body"].as_str().unwrap().contains("\"/a?b\""));
    let lines = lines(&kept);
    for part in [
        "start-up",
        "enable_features(features: buffer_response)",
        "handle_request()",
        "get_uri(buf: 100 bytes) = \"/a?b\"",
        "stderr: a line",
        "next handler",
        "handle_response(req_ctx: 0, is_error: false)",
        "set_header_value(kind: response headers, name: \"x-checked\"",
    ] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part:?} is not in {lines:#?}");
    }
    // The terminal shows the same.
    let shown = [dev.server.ready_line(), dev.server.ready_line()];
    assert!(shown[0].starts_with("#1 POST /a?b → 200"), "{shown:?}");
    assert!(shown[1].contains("start-up"), "{shown:?}");
}

#[tokio::test]
async fn a_trap_is_kept_with_its_reason_and_place() {
    let project = filter();
    let dev = Dev::of(&project, &[]);
    assert_eq!(status(&dev.send("GET /trap HTTP/1.1", "").await), 500);
    let kept = dev.exchange(1).await;
    assert_eq!(
        (&kept["failed"], &kept["status"], &kept["passed_on"]),
        (&true.into(), &500.into(), &false.into())
    );
    assert_eq!(kept["error"]["kind"], "trap");
    assert!(kept["error"]["message"].as_str().unwrap().contains("unreachable"), "{kept}");
    assert!(kept["error"]["backtrace"].is_string(), "{kept}");
    assert_eq!(kept["error"]["stderr"], "a line");
    assert!(kept["next"]["request"].is_null() && kept["next"]["response"].is_null(), "{kept}");
}

#[tokio::test]
async fn exchanges_are_bounded_in_number_and_memory() {
    let project = Project::new(&answers(200));
    let dev = Dev::of(&project, &[]);
    let body = "x".repeat(100_000);
    // Each keeps 64 KiB of a body that hasn't been read.
    for _ in 0..250 {
        assert_eq!(status(&dev.send("POST / HTTP/1.1", &body).await), 200);
    }
    let state = dev.json("/state").await;
    let exchanges = state["exchanges"].as_array().unwrap();
    assert_eq!((exchanges.len(), &exchanges[0]["id"]), (200, &250.into()));
    assert!(dev.ask_page("GET /exchange/50 HTTP/1.1").await.starts_with("HTTP/1.1 404"));
    let kept = dev.exchange(250).await;
    assert!(
        kept["client"]["request"]["shown"].as_u64().unwrap() <= 64 * 1024,
        "{}",
        kept["client"]["request"]["shown"]
    );
    drop(dev);

    // With four bodies each, memory is the limit.
    let project = filter();
    let dev = Dev::of(&project, &[]);
    for _ in 0..180 {
        assert_eq!(status(&dev.send("POST /a HTTP/1.1", &body).await), 200);
    }
    let state = dev.json("/state").await;
    let (count, bytes) =
        (state["exchanges"].as_array().unwrap().len(), state["kept"]["bytes"].as_u64().unwrap());
    assert!(bytes <= 32 << 20, "{bytes}");
    assert!((100..180).contains(&count), "{count}");
}

#[tokio::test]
async fn a_project_of_new_needs_no_arguments() {
    let parent = tempfile::tempdir().unwrap();
    let made = crate::support::http_wasm()
        .args(["new", "mine", "--lang", "wat"])
        .current_dir(parent.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    let directory = parent.path().join("mine");
    let dev = Dev::start(&["--guest-config", "s3cret ann ssn"], &directory);
    assert_eq!(dev.status().await, 401);
    let allowed = dev.send("GET / HTTP/1.1\r\nauthorization: Bearer s3cret", "").await;
    assert!(status(&allowed) == 200 && allowed.contains(r#"["x-user","ann"]"#), "{allowed}");
}

#[tokio::test]
async fn an_exchange_that_is_recorded_is_shown_too_and_replays() {
    let project = filter();
    let recordings = project.path("recordings");
    let dir = recordings.to_str().unwrap();
    let dev = Dev::of(&project, &["--record", dir, "--record-unredacted"]);
    assert_eq!(status(&dev.send("GET /trap HTTP/1.1", "").await), 500);
    let kept = dev.exchange(1).await;
    assert!(lines(&kept).join("\n").contains("get_uri(buf: 100 bytes) = \"/trap\""), "{kept}");
    let file = eventually(async || {
        let files = std::fs::read_dir(&recordings).ok()?.map(|entry| entry.unwrap().path());
        files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "har"))
    })
    .await;
    let replayed = run(&["replay", file.to_str().unwrap()]);
    let shown = String::from_utf8_lossy(&replayed.stdout);
    assert!(
        shown.contains("the guest failed: ") && shown.contains("no differences from the recording"),
        "{shown}"
    );
}
