//! The access log, and request IDs.

use std::fs;

use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::served::Served;
use crate::support::eventually;

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
