//! Guests that fail open, over real HTTP: messages pass as received.

use bytes::Bytes;
use http::{Request, Response};
use http_wasm_tower::{Body, ErrorKind, Guest, Limits, OnFailure};
use tower::service_fn;

use crate::guests::*;
use crate::support::*;

fn open(features: u32, before: &str, after: &str) -> Guest {
    guest_with(|builder| builder.on_failure(OnFailure::Open), features, &phases(before, after))
}

/// Changes everything in the request, and everything in the response that can be set in `handle_request`.
const SPOIL: &str = "(call $set_method {PUT}) (call $set_uri {/spoiled}) \
     (call $set_header_value (i32.const 0) {x-a} {spoiled})
    (call $write_body (i32.const 0) {spoiled}) (call $set_header_value (i32.const 2) {x-t} {spoiled})
    (call $set_status_code (i32.const 418)) (call $set_header_value (i32.const 1) {x-a} {spoiled})
    (call $write_body (i32.const 1) {spoiled})";

/// Changes everything in the response.
const SPOIL_RESPONSE: &str = "(call $set_status_code (i32.const 418))
    (call $set_header_value (i32.const 1) {x-a} {spoiled}) (call $write_body (i32.const 1) {spoiled})
    (call $set_header_value (i32.const 3) {x-t} {spoiled})";

#[tokio::test]
async fn the_next_handler_gets_the_request_as_the_client_sent_it() {
    for features in [NO_FEATURES, BUFFER_REQUEST] {
        let guest = open(features, &format!("{} {SPOIL} unreachable", read_all(0)), "");
        let addr = serve_guest(&guest, service_fn(describe)).await;
        for mut client in Client::both(addr).await {
            let request = Request::post("/a?b").header("x-a", "1").header("x-a", "2");
            let response = client.send(request.body(with_trailers("body", &[("x-t", "1")])).unwrap()).await;
            assert_eq!(response.status(), 200);
            let seen = text(response.into_body()).await;
            for part in [" /a?b ", "POST ", "x-a: 1\nx-a: 2\n", "\n\nbody\n"] {
                assert!(seen.replace("http://example.com", "").contains(part), "{part:?} in {seen}");
            }
            assert!(!seen.contains("spoiled"), "{seen}");
        }
        assert_eq!(guest.stats().dropped_failed, 2);
    }
}

#[tokio::test]
async fn the_client_gets_the_response_as_the_next_handler_gave_it() {
    let inner = |_: Request<Body>| async {
        let mut response = Response::new(with_trailers("body", &[("x-t", "1")]));
        response.headers_mut().append("x-a", "1".parse().unwrap());
        Ok(response)
    };
    let guest = open(BUFFER_RESPONSE, SPOIL, &format!("{} {SPOIL_RESPONSE} unreachable", read_all(1)));
    let addr = serve_guest(&guest, service_fn(inner)).await;
    for mut client in Client::both(addr).await {
        let response = client.send(get("/")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-a"], "1");
        assert_eq!(collect(response.into_body()).await, "body");
    }
}

#[tokio::test]
async fn the_typed_error_is_in_the_extensions_of_the_inner_response() {
    for (before, after) in [("unreachable", ""), ("", "unreachable")] {
        let guest = open(NO_FEATURES, before, after);
        let response = call(&guest, service_fn(hello), get("/")).await;
        assert_eq!(error(&response).kind(), ErrorKind::Trap);
        assert!(error(&response).backtrace().is_some());
        assert_eq!((response.status().as_u16(), &text(response.into_body()).await[..]), (200, "hello"));
    }
}

#[tokio::test]
async fn a_body_whose_rest_still_arrives_is_streamed() {
    let guest = open(
        NO_FEATURES,
        "(drop (call $read_body (i32.const 0) (global.get $buf) (i32.const 2))) unreachable",
        "",
    );
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("abc"))).unwrap();
    let response = call(&guest, service_fn(mirror), Request::post("/").body(body).unwrap()).await;
    feed.send(Ok(Bytes::from("def"))).unwrap();
    drop(feed);
    assert_eq!(text(response.into_body()).await, "abcdef");
}

#[tokio::test]
async fn a_request_consumed_past_the_replay_limit_fails_closed() {
    let settings = |builder: http_wasm_tower::GuestBuilder| {
        builder.on_failure(OnFailure::Open).limits(Limits { replay_bytes: 1000, ..Limits::default() })
    };
    let guest = guest_with(settings, NO_FEATURES, &phases(&format!("{} unreachable", read_all(0)), ""));
    let whole = call(&guest, service_fn(mirror), post("/", noise(1000))).await;
    assert_eq!(collect(whole.into_body()).await, noise(1000));
    let response = call(&guest, service_fn(mirror), post("/", noise(1001))).await;
    assert_eq!((response.status().as_u16(), &text(response.into_body()).await[..]), (500, ""));
}

#[tokio::test]
async fn a_guest_that_fails_open_does_not_affect_the_other_guests_of_its_chain() {
    use http_wasm_tower::HttpWasmLayer;
    use tower::{Layer as _, ServiceExt as _};
    let mark = around(
        BUFFER_RESPONSE,
        "(call $set_header_value (i32.const 0) {x-outer} {1})",
        "(call $set_header_value (i32.const 1) {x-outer} {1})",
    );
    let failing = open(NO_FEATURES, "(call $remove_header (i32.const 0) {x-outer}) unreachable", "");
    let inner = HttpWasmLayer::new(failing).layer(service_fn(describe));
    let response = soon(HttpWasmLayer::new(mark).layer(inner).oneshot(get("/"))).await.unwrap();
    assert_eq!(response.headers()["x-outer"], "1");
    assert_eq!(error(&response).kind(), ErrorKind::Trap);
    assert!(text(response.into_body()).await.contains("x-outer: 1\n"));
}

#[tokio::test]
async fn the_inner_services_error_passes_through_when_the_guest_is_bypassed() {
    use http_wasm_tower::HttpWasmLayer;
    use tower::{Layer as _, ServiceExt as _};
    let inner =
        service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>("the inner service's own error") });
    let service = HttpWasmLayer::new(open(NO_FEATURES, "unreachable", "")).layer(inner);
    assert_eq!(service.oneshot(get("/")).await.unwrap_err(), "the inner service's own error");
}
