//! The access log, and request IDs.

use std::fs;

use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::open_metrics::Scrape;
use crate::served::Served;
use crate::support::{Raw, eventually, upstream};

const ROUTES: &str = r#"
[guests.judge]
path = "judges.wat"
[upstreams.nobody]
addresses = ["http://127.0.0.1:1"]
retries = 0
[[routes]]
name = "down"
path = "/down"
upstream = "nobody"
[[routes]]
name = "main"
guests = ["judge"]
backend = "echo"
"#;

/// The lines of the log, once there are `count`.
async fn lines(served: &Served, name: &str, count: usize) -> Vec<String> {
    eventually(async || {
        let text = fs::read_to_string(served.files.path(name)).unwrap_or_default();
        let are_all = text.ends_with('\n') && text.lines().count() >= count;
        are_all.then(|| text.lines().map(str::to_owned).collect())
    })
    .await
}

async fn json_lines(served: &Served, count: usize) -> Vec<Value> {
    let lines = lines(served, "access.log", count).await;
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_line_describes_client_request_and_outcome() {
    let served = Served::start(&format!("[access_log]\nfile = 'access.log'\n{ROUTES}")).await;
    let request = Request::post("/x?q=1").header("user-agent", "curl\\\"").header("referer", "http://r/");
    assert_eq!(served.send(request, "four").await.status(), StatusCode::OK);
    let line = &json_lines(&served, 1).await[0];
    for (field, value) in [
        ("client", json!("127.0.0.1")),
        ("method", json!("POST")),
        ("target", json!("/x?q=1")),
        ("protocol", json!("HTTP/1.1")),
        ("host", json!(served.address.to_string())),
        ("status", json!(200)),
        ("outcome", json!("complete")),
        ("request_bytes", json!(4)),
        ("route", json!("main")),
        ("user_agent", json!("curl\\\"")),
        ("referer", json!("http://r/")),
        ("upstream", Value::Null),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert!(line["duration"].as_f64() > Some(0.0) && line["response_bytes"].as_u64() > Some(0), "{line}");
    let guest = &line["guests"][0];
    assert_eq!(guest["name"], "judge");
    assert!(guest["request"].is_f64() && guest["response"].is_f64(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_to_head_is_complete_without_its_body() {
    let served = Served::start(&format!("[access_log]\nfile = 'access.log'\n{ROUTES}")).await;
    for (number, path) in ["/x", "/down", "/trap"].iter().enumerate() {
        served.send(Request::head(*path), "").await;
        let line = &json_lines(&served, number + 1).await[number];
        let outcome = ["complete", "upstream_failed", "guest_failed"][number];
        assert_eq!((&line["outcome"], &line["response_bytes"]), (&json!(outcome), &json!(0)), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_names_the_guest_or_upstream_that_failed_and_the_error() {
    let served = Served::start(&format!("[access_log]\nfile = 'access.log'\n{ROUTES}")).await;
    served.get("/trap").await;
    served.get("/down").await;
    let lines = json_lines(&served, 2).await;
    assert_eq!(
        (&lines[0]["outcome"], &lines[0]["guests"][0]["failure"]),
        (&"guest_failed".into(), &"trap".into())
    );
    assert_eq!(lines[1]["outcome"], "upstream_failed");
    let upstream = &lines[1]["upstream"];
    assert_eq!((&upstream["name"], &upstream["attempts"]), (&"nobody".into(), &1.into()));
    assert_eq!(upstream["failure"], "connect");
    assert_eq!(upstream["address"], "http://127.0.0.1:1");
}

/// Reads bodies of requests and responses to their end.
const READS_BODIES: &str = r#"(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (memory (export "memory") 1)
  (func $read (param $kind i32)
    (loop $more
      (br_if $more (i64.eqz (i64.shr_u
        (call $read_body (local.get $kind) (i32.const 0) (i32.const 65536)) (i64.const 32))))))
  (func (export "handle_request") (result i64)
    (drop (call $enable_features (i32.const 3)))
    (call $read (i32.const 0))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32) (call $read (i32.const 1))))"#;

/// An upstream that breaks off its response to a GET, and waits for the bodies of other requests.
async fn breaks_off() -> String {
    upstream(async |mut raw| {
        if raw.read_until("\r\n\r\n").await.starts_with("GET") {
            raw.send("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\ncut").await;
        } else {
            raw.read_bytes_to_end().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_and_the_metrics_blame_whoever_broke_off_a_body() {
    let upstream = breaks_off().await;
    let config = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\nlimits = {{ body_timeout = '1s', max_request_body = 9 }}\n\
         [admin]\naddress = '127.0.0.1:0'\n[access_log]\nfile = 'access.log'\n\
         [guests.reader]\npath = 'reads.wat'\n[guests.small]\npath = 'reads.wat'\n\
         limits.replay_bytes = 4\n[upstreams.up]\naddresses = ['{upstream}']\n\
         [[routes]]\npath = '/read'\nguests = ['reader']\nupstream = 'up'\n\
         [[routes]]\npath = '/small'\nguests = ['small']\nupstream = 'up'\n\
         [[routes]]\nupstream = 'up'\n"
    );
    let served = Served::start_with_file("reads.wat", READS_BODIES, &config).await;
    let (short, chunked) = ("Content-Length: 8\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n");
    let (malformed, long) = (format!("{chunked}zz\r\n"), format!("{chunked}a\r\n0123456789\r\n"));
    let (request_body, body) = (json!("request_body"), json!("body"));
    let cases = [
        // What the client sends, whether it closes, and who is to blame.
        ("POST /", short, true, 400, "client_failed", &request_body, &Value::Null),
        ("POST /", short, false, 408, "client_failed", &request_body, &Value::Null),
        ("POST /", &malformed, false, 400, "client_failed", &request_body, &Value::Null),
        ("POST /", &long, false, 413, "client_failed", &request_body, &Value::Null),
        ("POST /read", short, true, 400, "client_failed", &Value::Null, &body),
        ("POST /read", short, false, 408, "client_failed", &Value::Null, &body),
        ("POST /read", &malformed, false, 400, "client_failed", &Value::Null, &body),
        (
            "POST /small",
            "Content-Length: 8\r\n\r\n01234567",
            false,
            413,
            "client_failed",
            &Value::Null,
            &json!("body_too_large"),
        ),
        ("GET /", "A B: c\r\n\r\n", false, 400, "complete", &Value::Null, &Value::Null),
        ("GET /read", "\r\n", false, 502, "upstream_failed", &Value::Null, &body),
    ];
    for (number, (request, rest, closes, status, outcome, upstream, guest)) in cases.iter().enumerate() {
        let mut client = Raw(TcpStream::connect(served.address).await.expect("it accepts"));
        client.send(format!("{request} HTTP/1.1\r\nHost: h\r\n{rest}")).await;
        if *closes {
            client.0.shutdown().await.expect("it is open");
        }
        let line = json_lines(&served, number + 1).await.remove(number);
        let found = [&line["status"], &line["outcome"], &line["upstream"]["failure"]];
        assert_eq!(found, [&json!(status), &json!(outcome), *upstream], "{request} {rest}: {line}");
        assert_eq!(line["guests"][0]["failure"], **guest, "{request} {rest}: {line}");
    }
    let metrics = Scrape::parse(served.ask(Method::GET, "/metrics").await.body());
    for (series, value) in [
        (r#"http_wasm_upstream_failures_total{upstream="up",kind="request_body"}"#, 4.0),
        (r#"http_wasm_guest_failures_total{guest="reader",phase="request",kind="body"}"#, 3.0),
        (r#"http_wasm_guest_failures_total{guest="small",phase="request",kind="body_too_large"}"#, 1.0),
        (r#"http_wasm_guest_failures_total{guest="reader",phase="response",kind="body"}"#, 1.0),
    ] {
        assert_eq!(metrics.get(series), value, "{series}: {metrics:#?}");
    }
    assert_eq!(metrics.sum("http_wasm_responses_incomplete_total"), 0.0, "{metrics:#?}");
    let status = served.status_with(|status| status["errors"].is_array()).await;
    let errors = status["errors"].as_array().expect("they are listed");
    assert_eq!(errors.len(), 1, "only what operators can change is listed: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_combined_format_is_that_of_apache_and_nginx() {
    let config = format!("[access_log]\nformat = 'combined'\nfile = 'access.log'\n{ROUTES}");
    let served = Served::start(&config).await;
    let bytes = served.send(Request::get("/x?q=1").header("user-agent", "a\"b"), "").await.body().len();
    let line = lines(&served, "access.log", 1).await.remove(0);
    let (before, rest) = line.split_once(" [").expect("a time");
    let (time, rest) = rest.split_once("] ").expect("the time's end");
    assert_eq!((before, time.len(), &time[20..]), ("127.0.0.1 - -", 26, " +0000"));
    assert_eq!(rest, format!(r#""GET /x?q=1 HTTP/1.1" 200 {bytes} "-" "a\x22b""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_the_same_id_in_log_upstream_request_and_response() {
    let config = format!("[access_log]\nfile = 'access.log'\n[request_id]\nrespond = true\n{ROUTES}");
    let served = Served::start(&config).await;
    let answer = served.send(Request::get("/x").header("x-request-id", "mine"), "").await;
    let id = answer.headers()["x-request-id"].to_str().expect("plain").to_owned();
    assert_eq!((id.len(), id == "mine"), (32, false), "a client's name is not trusted by default");
    assert_eq!(json_lines(&served, 1).await[0]["request_id"], *id);
    assert!(answer.body().contains(&id), "what stands behind the guest gets it: {}", answer.body());

    let served = Served::start(&format!("[request_id]\ntrust = true\nrespond = true\n{ROUTES}")).await;
    let answer = served.send(Request::get("/a").header("x-request-id", "mine"), "").await;
    assert_eq!(answer.headers()["x-request-id"], "mine", "on what a guest answers too");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_moved_log_is_reopened_at_sighup() {
    let served = Served::start(&format!("[access_log]\nfile = 'access.log'\n{ROUTES}")).await;
    served.get("/before").await;
    lines(&served, "access.log", 1).await;
    fs::rename(served.files.path("access.log"), served.files.path("access.log.1")).expect("it can be moved");
    let pid = std::process::id().to_string();
    let kill = std::process::Command::new("kill").args(["-HUP", &pid]).status().expect("kill is there");
    assert!(kill.success());
    eventually(async || served.files.path("access.log").exists().then_some(())).await;
    served.get("/after").await;
    assert_eq!(json_lines(&served, 1).await[0]["target"], "/after");
    assert_eq!(lines(&served, "access.log.1", 1).await.len(), 1);
}
