//! Trailers in both directions and both protocol versions.

use http::{Request, Response};
use http_wasm_tower::Body;
use tower::service_fn;

use crate::guests::*;
use crate::support::*;

/// Sets `x-set`, adds to `x-add`, removes `x-gone`.
fn edits(kind: u32) -> String {
    format!(
        "(call $set_header_value (i32.const {kind}) {{x-set}} {{guest}})
         (call $add_header_value (i32.const {kind}) {{x-add}} {{guest}})
         (call $remove_header (i32.const {kind}) {{x-gone}})"
    )
}

const ARRIVING: [(&str, &str); 4] = [("x-set", "1"), ("x-add", "1"), ("x-gone", "1"), ("x-kept", "1")];

async fn trailing(_: Request<Body>) -> Result<Response<Body>, std::convert::Infallible> {
    Ok(Response::new(with_trailers("body", &ARRIVING)))
}

#[tokio::test]
async fn untouched_trailers_pass_in_both_directions_over_http2() {
    for guest in [around(NO_FEATURES, "", ""), around(BUFFER_REQUEST | BUFFER_RESPONSE | TRAILERS, "", "")] {
        let addr = serve_guest(&guest, service_fn(mirror)).await;
        let request = Request::post("/").body(with_trailers("body", &ARRIVING)).unwrap();
        let answer = gather(Client::http2(addr).await.send(request).await.into_body()).await;
        assert_eq!(answer.trailers(), Some(&fields(&ARRIVING)));
        assert_eq!(answer.to_bytes(), "body");
    }
}

#[tokio::test]
async fn a_guest_edits_request_trailers_before_they_have_arrived() {
    let guest = around(TRAILERS, &edits(2), "");
    let addr = serve_guest(&guest, service_fn(describe)).await;
    let request = Request::post("/").body(with_trailers("body", &ARRIVING)).unwrap();
    let seen = text(Client::http2(addr).await.send(request).await.into_body()).await;
    let (_, seen) = seen.split_once("\n\n").unwrap();
    let mut lines: Vec<_> = seen.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["body", "x-add: 1", "x-add: guest", "x-kept: 1", "x-set: guest"]);
}

#[tokio::test]
async fn a_guest_adds_trailers_to_a_request_without_any() {
    let guest = around(TRAILERS, &edits(2), "");
    let addr = serve_guest(&guest, service_fn(describe)).await;
    for mut client in Client::both(addr).await {
        let seen = text(client.send(post("/", "body")).await.into_body()).await;
        assert!(seen.ends_with("\n\nbody\nx-set: guest\nx-add: guest\n"), "{seen}");
        assert!(!seen.contains("content-length"), "{seen}");
    }
}

#[tokio::test]
async fn a_guest_edits_response_trailers_before_they_have_arrived() {
    let guest = around(BUFFER_RESPONSE | TRAILERS, "", &edits(3));
    let addr = serve_guest(&guest, service_fn(trailing)).await;
    let mut client = Client::http2(addr).await;
    let answer = gather(client.send(get("/")).await.into_body()).await;
    let trailers = answer.trailers().unwrap();
    assert_eq!(trailers, &fields(&[("x-set", "guest"), ("x-add", "1"), ("x-add", "guest"), ("x-kept", "1")]));
    assert_eq!(answer.to_bytes(), "body");
}

#[tokio::test]
async fn a_guest_adds_trailers_to_a_response_without_any() {
    // Set before and after the next handler.
    for (before, after) in [(edits(3), String::new()), (String::new(), edits(3))] {
        let guest = around(BUFFER_RESPONSE | TRAILERS, &before, &after);
        let addr = serve_guest(&guest, service_fn(hello)).await;
        let answer = gather(Client::http2(addr).await.send(get("/")).await.into_body()).await;
        assert_eq!(answer.trailers(), Some(&fields(&[("x-set", "guest"), ("x-add", "guest")])));
        assert_eq!(answer.to_bytes(), "hello");
    }
}

#[tokio::test]
async fn over_http1_a_guests_trailers_are_announced_and_sent_if_the_client_accepts_them() {
    let guest =
        around(BUFFER_RESPONSE | TRAILERS, "", "(call $set_header_value (i32.const 3) {x-set} {guest})");
    let addr = serve_guest(&guest, service_fn(hello)).await;
    let answer =
        exchange(addr, "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close, te\r\n\r\n").await;
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\ntrailer: x-set\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nx-set: guest\r\n\r\n"
    );
}

#[tokio::test]
async fn over_http1_trailers_that_the_client_does_not_accept_are_dropped() {
    let guest =
        around(BUFFER_RESPONSE | TRAILERS, "", "(call $set_header_value (i32.const 3) {x-set} {guest})");
    let addr = serve_guest(&guest, service_fn(hello)).await;
    let answer = exchange(addr, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("hello"), "{answer}");
    assert!(!answer.contains("x-set: guest"), "{answer}");
}

#[tokio::test]
async fn over_http1_trailers_pass_in_both_directions() {
    let guest = around(BUFFER_REQUEST | BUFFER_RESPONSE | TRAILERS, &edits(2), "");
    let addr = serve_guest(&guest, service_fn(describe)).await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntrailer: x-set, x-gone, x-kept\r\n\
        transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-set: 1\r\nx-gone: 1\r\nx-kept: 1\r\n\r\n";
    let answer = exchange(addr, request).await;
    let (_, trailers) = answer.rsplit_once("body\n").unwrap();
    let mut lines: Vec<_> = trailers.lines().filter(|line| line.starts_with("x-")).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["x-add: guest", "x-kept: 1", "x-set: guest"]);

    let inner = service_fn(|_: Request<Body>| async {
        let response = Response::builder().header("trailer", "x-set, x-kept");
        Ok(response.body(with_trailers("body", &[("x-set", "1"), ("x-kept", "1")])).unwrap())
    });
    let addr = serve_guest(&around(BUFFER_RESPONSE | TRAILERS, "", &edits(3)), inner).await;
    let answer =
        exchange(addr, "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: close, te\r\n\r\n").await;
    for line in ["x-set: guest\r\n", "x-kept: 1\r\n", "x-add: guest\r\n"] {
        assert!(answer.contains(line), "{answer}");
    }
    assert!(answer.contains("trailer: x-set, x-kept, x-add\r\n"), "{answer}");
}

#[tokio::test]
async fn reading_trailers_waits_for_them_and_keeps_the_body() {
    let read = "(call $set_header_value (i32.const 1) {x-told} (global.get $buf)
        (i32.sub
            (i32.wrap_i64 (call $get_header_values (i32.const KIND) {x-kept} (global.get $buf) (i32.const 100)))
            (i32.const 1)))";
    let guest = around(BUFFER_REQUEST | BUFFER_RESPONSE | TRAILERS, "", &read.replace("KIND", "3"));
    let addr = serve_guest(&guest, service_fn(trailing)).await;
    let response = Client::http2(addr).await.send(get("/")).await;
    assert_eq!(header(&response, "x-told"), "1");
    let answer = gather(response.into_body()).await;
    assert_eq!(answer.trailers(), Some(&fields(&ARRIVING)));
    assert_eq!(answer.to_bytes(), "body");

    let guest = around(BUFFER_REQUEST | TRAILERS, &read.replace("KIND", "2"), "");
    let addr = serve_guest(&guest, service_fn(mirror)).await;
    let request = Request::post("/").body(with_trailers("body", &ARRIVING)).unwrap();
    let response = Client::http2(addr).await.send(request).await;
    assert_eq!(header(&response, "x-told"), "1");
    let answer = gather(response.into_body()).await;
    assert_eq!(answer.trailers(), Some(&fields(&ARRIVING)));
    assert_eq!(answer.to_bytes(), "body");
}

#[tokio::test]
async fn a_guest_that_rewrites_the_body_keeps_the_trailers_it_sets() {
    let guest = around(
        BUFFER_RESPONSE | TRAILERS,
        "",
        "(call $write_body (i32.const 1) {rewritten}) (call $set_header_value (i32.const 3) {x-set} {guest})",
    );
    let addr = serve_guest(&guest, service_fn(hello)).await;
    let answer = gather(Client::http2(addr).await.send(get("/")).await.into_body()).await;
    assert_eq!(answer.trailers(), Some(&fields(&[("x-set", "guest")])));
    assert_eq!(answer.to_bytes(), "rewritten");
}
