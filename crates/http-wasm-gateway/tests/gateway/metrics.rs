//! `/metrics`.

use http::{Method, StatusCode};

use crate::open_metrics::Scrape;
use crate::served::Served;
use crate::support::eventually;

const CONFIG: &str = r#"
[admin]
address = "127.0.0.1:0"
[guests.judge]
path = "judges.wat"
[guests.broken]
path = "broken.wat"
optional = true
[upstreams.nobody]
addresses = ["http://127.0.0.1:1"]
retries = 0
[[routes]]
name = "down"
path = "/down"
upstream = "nobody"
[[routes]]
name = "main"
path_prefix = "/main"
guests = ["judge"]
backend = "hello"
"#;

async fn scrape(served: &Served) -> Scrape {
    let answer = served.ask(Method::GET, "/metrics").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.headers()["content-type"], content_type);
    Scrape::parse(answer.body())
}

/// Scrapes once this many requests have finished.
async fn scrape_after(served: &Served, requests: f64) -> Scrape {
    eventually(async || {
        let scrape = scrape(served).await;
        (scrape.sum("http_wasm_requests_total") >= requests).then_some(scrape)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_guests_upstreams_and_the_process_are_counted_in_strict_open_metrics() {
    let served = Served::start(CONFIG).await;
    for path in ["/main/x", "/main/x", "/main/a", "/main/trap", "/down", "/nowhere"] {
        served.get(path).await;
    }
    let scrape = scrape_after(&served, 6.0).await;
    for (series, value) in [
        (r#"http_wasm_requests_total{route="main",code="2xx"}"#, 3.0),
        (r#"http_wasm_requests_total{route="main",code="5xx"}"#, 1.0),
        (r#"http_wasm_requests_total{route="down",code="5xx"}"#, 1.0),
        (r#"http_wasm_requests_total{route="none",code="4xx"}"#, 1.0),
        (r#"http_wasm_request_duration_seconds_count{route="main",code="2xx"}"#, 3.0),
        (r#"http_wasm_response_bytes_total{route="main"}"#, 22.0),
        ("http_wasm_requests_in_flight", 0.0),
        (r#"http_wasm_guest_call_duration_seconds_count{guest="judge",phase="request"}"#, 4.0),
        (r#"http_wasm_guest_call_duration_seconds_count{guest="judge",phase="response"}"#, 2.0),
        (r#"http_wasm_guest_failures_total{guest="judge",phase="request",kind="trap"}"#, 1.0),
        (r#"http_wasm_guest_checkouts_total{guest="judge",result="hit"}"#, 4.0),
        (r#"http_wasm_guest_instances_dropped_total{guest="judge",reason="failed"}"#, 1.0),
        (r#"http_wasm_guest_up{guest="judge"}"#, 1.0),
        (r#"http_wasm_guest_up{guest="broken"}"#, 0.0),
        (r#"http_wasm_guest_instances{guest="judge",state="busy"}"#, 0.0),
        (r#"http_wasm_upstream_failures_total{upstream="nobody",kind="connect"}"#, 1.0),
        (r#"http_wasm_config_reloads_total{result="failure"}"#, 0.0),
        ("http_wasm_ready", 1.0),
    ] {
        assert!(scrape.has(series) || value == 0.0, "{series} is missing: {scrape:#?}");
        assert_eq!(scrape.get(series), value, "{series}");
    }
    for name in [
        "http_wasm_build_info",
        "http_wasm_config_loaded_timestamp_seconds",
        "http_wasm_guests_memory_bytes",
        "http_wasm_guests_memory_budget_bytes",
        "http_wasm_bodies_memory_bytes",
        "http_wasm_bodies_memory_budget_bytes",
        "http_wasm_bodies_memory_refusals_total",
        "http_wasm_code_cache_discarded_total",
        "http_wasm_guest_memory_bytes",
        "http_wasm_guest_instance_start_seconds_count",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
    ] {
        assert!(scrape.names().any(|series| series == name), "{name} is missing: {scrape:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_cannot_make_the_number_of_series_grow() {
    let config = "[admin]\naddress = '127.0.0.1:0'\n[[routes]]\npath_prefix = '/a'\nbackend = 'hello'\n";
    let served = Served::start(config).await;
    served.get("/a").await;
    served.get("/b").await;
    let before = scrape_after(&served, 2.0).await.names().count();
    for number in 0..20 {
        served.get(&format!("/a/{number}")).await;
        let method = format!("METHOD{number}");
        served.send(http::Request::builder().method(&*method).uri(format!("/b/{number}")), "").await;
    }
    assert_eq!(scrape_after(&served, 42.0).await.names().count(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_dropped_by_a_listener_are_counted() {
    let text = "listen = [{ address = '127.0.0.1:0', underscores = 'drop' }]\n\
                [admin]\naddress = '127.0.0.1:0'\n[[routes]]\nbackend = 'echo'\n";
    let served = Served::start(text).await;
    let request =
        http::Request::get("/").header("x_a", "1").header("x_b", "1").header("x-real-ip", "1.1.1.1");
    let answer = served.send(request.header("x-c", "1"), "").await;
    assert!(answer.body().contains("x-c"), "{}", answer.body());
    assert!(!answer.body().contains("x_a") && !answer.body().contains("x-real-ip"), "{}", answer.body());
    let scrape = scrape_after(&served, 1.0).await;
    assert_eq!(scrape.get(r#"http_wasm_request_fields_dropped_total{reason="underscore"}"#), 2.0);
    assert_eq!(scrape.get(r#"http_wasm_request_fields_dropped_total{reason="claim"}"#), 1.0);
}
