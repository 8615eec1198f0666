//! What a client gets when a guest fails, and what the server can see.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_wasm_tower::{Body, Error, ErrorKind, FailurePolicy, GatewayTimeout, HttpWasmLayer, Limits};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::guests::*;
use crate::support::*;

#[tokio::test]
async fn a_trap_is_a_500_without_detail_and_with_the_typed_error_in_the_extensions() {
    for (before, after) in [("unreachable", ""), ("", "unreachable")] {
        let guest = around(NO_FEATURES, before, after);
        let response = call(&guest, service_fn(describe), get("/")).await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers(), &fields(&[("content-length", "0")]));
        assert_eq!(error(&response).kind(), ErrorKind::Trap);
        assert!(error(&response).backtrace().is_some());
        assert_eq!(text(response.into_body()).await, "");
        assert_eq!(guest.stats().live, 0, "a trapped instance is dropped");
        assert_eq!(guest.stats().dropped_failed, 1);
    }
}

#[tokio::test]
async fn a_call_that_the_abi_forbids_names_the_function() {
    let guest = around(NO_FEATURES, "", "(call $set_status_code (i32.const 201))");
    let response = call(&guest, service_fn(hello), get("/")).await;
    assert_eq!(response.status(), 500);
    assert_eq!(error(&response).kind(), ErrorKind::HostCall);
    assert_eq!(error(&response).function(), Some("set_status_code"));
}

#[tokio::test]
async fn an_endless_loop_ends_at_the_deadline() {
    let limits = Limits { deadline: std::time::Duration::from_millis(50), ..Limits::default() };
    let guest = limited_guest(
        limits,
        NO_FEATURES,
        r#"(func (export "handle_request") (result i64) (loop (br 0)) (i64.const 1))"#,
    );
    for _ in 0..2 {
        let response = call(&guest, service_fn(hello), get("/")).await;
        assert_eq!(response.status(), 500);
        assert_eq!(error(&response).kind(), ErrorKind::Deadline);
    }
}

#[tokio::test]
async fn a_failed_request_does_not_affect_the_next() {
    let guest = guest(
        NO_FEATURES,
        r#"(func (export "handle_request") (result i64)
            (if (i32.eq (call $get_uri (global.get $buf) (i32.const 100)) (i32.const 5)) (then unreachable))
            (i64.const 1))"#,
    );
    let addr = serve_guest(&guest, service_fn(hello)).await;
    for mut client in Client::both(addr).await {
        for _ in 0..3 {
            let response = client.send(get("/trap")).await;
            assert_eq!(
                (response.status(), text(response.into_body()).await),
                (StatusCode::INTERNAL_SERVER_ERROR, String::new())
            );
            assert_eq!(text(client.send(get("/")).await.into_body()).await, "hello");
        }
    }
}

#[tokio::test]
async fn the_policy_is_replaceable() {
    struct Teapot;
    impl FailurePolicy for Teapot {
        fn response(&self, error: &Error, request: Option<&Parts>) -> Response<Body> {
            assert_eq!(error.kind(), ErrorKind::Trap);
            assert!(request.is_none(), "nobody has asked for it");
            let mut response = Response::new("sorry".into_body());
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
            response
        }
    }
    let layer = HttpWasmLayer::new(around(NO_FEATURES, "unreachable", "")).failure_policy(Teapot);
    let response = layer.layer(service_fn(hello)).oneshot(get("/")).await.unwrap();
    assert_eq!(response.status(), 418);
    assert_eq!(error(&response).kind(), ErrorKind::Trap);
    assert_eq!(text(response.into_body()).await, "sorry");
}

#[tokio::test]
async fn a_closure_policy_sees_the_original_request_in_either_phase() {
    let spoil = "(call $set_method {PUT}) (call $set_uri {/spoiled}) \
        (call $set_header_value (i32.const 0) {x-a} {spoiled})";
    let note = String::from("sorry");
    let policy = move |error: &Error, request: &Parts| {
        let text = format!(
            "{note}: {} {} {:?} {:?} in {:?}",
            request.method,
            request.uri,
            request.version,
            request.headers["x-a"],
            error.phase().unwrap()
        );
        let mut response = Response::new(text.into_body());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    };
    for (before, after, phase) in [("unreachable", "", "Request"), ("", "unreachable", "Response")] {
        let guest = around(NO_FEATURES, &format!("{spoil} {before}"), after);
        let service = HttpWasmLayer::new(guest).failure_policy(policy.clone()).layer(service_fn(hello));
        let request = Request::post("/a?b").header("x-a", "1").body(Body::empty()).unwrap();
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 418);
        let seen = text(response.into_body()).await;
        assert_eq!(seen, format!("sorry: POST /a?b HTTP/1.1 \"1\" in {phase}"));
    }
}

fn capped(features: u32, before: &str, after: &str) -> http_wasm_tower::Guest {
    limited_guest(Limits { replay_bytes: 1000, ..Limits::default() }, features, &phases(before, after))
}

#[tokio::test]
async fn a_request_body_over_the_replay_cap_is_a_413() {
    let guest = capped(BUFFER_REQUEST, &read_all(0), "");
    let addr = serve_guest(&guest, service_fn(mirror)).await;
    for mut client in Client::both(addr).await {
        let response = client.send(post("/", noise(1000))).await;
        assert_eq!(collect(response.into_body()).await, noise(1000));
    }
    for mut client in Client::both(addr).await {
        let response = client.send(post("/", noise(1001))).await;
        assert_eq!(
            (response.status(), text(response.into_body()).await),
            (StatusCode::PAYLOAD_TOO_LARGE, String::new())
        );
    }
}

#[tokio::test]
async fn a_response_body_over_the_replay_cap_is_a_502() {
    let guest = capped(BUFFER_RESPONSE, "", &read_all(1));
    let addr = serve_guest(&guest, service_fn(mirror)).await;
    for mut client in Client::both(addr).await {
        let response = client.send(post("/", noise(1000))).await;
        assert_eq!(collect(response.into_body()).await, noise(1000));
        let response = client.send(post("/", noise(1001))).await;
        assert_eq!(
            (response.status(), text(response.into_body()).await),
            (StatusCode::BAD_GATEWAY, String::new())
        );
    }
}

#[tokio::test]
async fn an_unread_body_is_not_subject_to_the_replay_cap() {
    let guest = capped(BUFFER_REQUEST | BUFFER_RESPONSE, "", "");
    let response = call(&guest, service_fn(mirror), post("/", noise(100_000))).await;
    assert_eq!(collect(response.into_body()).await, noise(100_000));
}

#[tokio::test]
async fn a_body_that_breaks_off_while_the_guest_reads_is_a_400_or_a_502() {
    let broken = || {
        let (feed, body) = fed();
        feed.send(Ok(Bytes::from("so far"))).unwrap();
        feed.send(Err("broken".into())).unwrap();
        body
    };
    let guest = capped(BUFFER_REQUEST, &read_all(0), "");
    let response = call(&guest, service_fn(hello), Request::post("/").body(broken()).unwrap()).await;
    assert_eq!(response.status(), 400);

    let guest = capped(BUFFER_RESPONSE, "", &read_all(1));
    let inner = service_fn(move |_: Request<Body>| {
        let response = Response::new(broken());
        async { Ok(response) }
    });
    let response = call(&guest, inner, get("/")).await;
    assert_eq!(response.status(), 502);
}

#[tokio::test]
async fn a_refused_instance_is_a_503_with_retry_after_for_that_request_only() {
    let mounted = std::env::temp_dir().join(format!("http-wasm-tower-{}", std::process::id()));
    std::fs::create_dir(&mounted).unwrap();
    let guest: http_wasm_tower::Guest = http_wasm_tower::Guest::builder(engine())
        .mount(http_wasm_tower::Mount::read_only(&mounted, "/data"))
        .load(module(NO_FEATURES, "").as_bytes())
        .unwrap();
    let (release, inner) = held();
    let mut first = std::pin::pin!(call(&guest, inner.clone(), get("/")));
    assert!(is_pending(first.as_mut()).await);

    // A second instance would need the directory again.
    std::fs::remove_dir(&mounted).unwrap();
    let response = call(&guest, inner.clone(), get("/")).await;
    assert_eq!(response.status(), 503);
    assert_eq!(header(&response, "retry-after"), "1");
    assert_eq!(error(&response).kind(), ErrorKind::Unavailable);

    release.notify_one();
    assert_eq!(first.await.status(), 200);
    idle(&guest, 1).await;
}

#[tokio::test]
async fn with_gateway_timeout_a_deadline_is_a_504_and_other_errors_keep_their_status() {
    let short = Limits { deadline: std::time::Duration::from_millis(20), ..Limits::default() };
    for (before, after, limits, status) in [
        ("(loop (br 0))", "", short.clone(), 504),
        ("", "(loop (br 0))", short, 504),
        ("unreachable", "", Limits::default(), 500),
    ] {
        let guest = limited_guest(limits, NO_FEATURES, &phases(before, after));
        let layer = HttpWasmLayer::new(guest).failure_policy(GatewayTimeout::default());
        let response = soon(layer.layer(service_fn(hello)).oneshot(get("/"))).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers(), &fields(&[("content-length", "0")]));
        assert_eq!(text(response.into_body()).await, "");
    }
}

/// A service that responds when the test lets it.
fn held() -> (
    Arc<tokio::sync::Notify>,
    impl tower::Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible, Future: Send>
    + Clone
    + Send
    + 'static,
) {
    let release = Arc::new(tokio::sync::Notify::new());
    let notified = release.clone();
    let inner = service_fn(move |_: Request<Body>| {
        let release = notified.clone();
        async move {
            release.notified().await;
            Ok(Response::new(Body::empty()))
        }
    });
    (release, inner)
}

#[tokio::test]
async fn a_guest_that_traps_when_it_is_restarted_fails_only_that_request() {
    // What the subscriber has enabled can differ from one start-up to the next.
    let guest = guest(
        NO_FEATURES,
        r#"(func $unless_debugged (if (call $log_enabled (i32.const -1)) (then unreachable)))
           (start $unless_debugged)"#,
    );
    let (release, inner) = held();
    let mut first = std::pin::pin!(call(&guest, inner.clone(), get("/")));
    assert!(is_pending(first.as_mut()).await);

    let debugging = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_writer(std::io::sink)
        .finish();
    // If there were only one subscriber, an event first emitted on a thread without any would be considered disabled
    // everywhere.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let debugging = tracing_subscriber::util::SubscriberInitExt::set_default(debugging);
    let response = call(&guest, inner.clone(), get("/")).await;
    drop(debugging);
    assert_eq!(response.status(), 500);
    assert_eq!(error(&response).kind(), ErrorKind::Trap);
    assert!(error(&response).phase().is_none());

    release.notify_one();
    assert_eq!(first.await.status(), 200);
    idle(&guest, 1).await;
}
