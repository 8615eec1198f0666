//! Framing and connection headers on the wire.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, Version};
use http_wasm_tower::{Body, Chain, Guest, Stream};
use tower::service_fn;

use crate::guests::*;
use crate::support::*;

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

const REWRITE: &str = "(call $write_body (i32.const 1) {rewritten})";

/// Twelve bytes with a content-length and an etag.
async fn twelve_bytes(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    let response = Response::builder().header("etag", "x").header("content-length", "12");
    Ok(response.body("twelve bytes".into_body()).unwrap())
}

/// The same in chunks.
async fn chunked(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(streamed(stream::iter(["twelve", " bytes"].map(|piece| Ok(Bytes::from(piece)))))))
}

#[tokio::test]
async fn a_response_that_no_guest_touched_keeps_its_framing() {
    let guest = around(BUFFER_RESPONSE, "", "");
    let addr = serve_guest(&guest, service_fn(twelve_bytes)).await;
    assert_eq!(
        exchange(addr, GET).await,
        "HTTP/1.1 200 OK\r\netag: x\r\ncontent-length: 12\r\nconnection: close\r\n\r\ntwelve bytes"
    );
    let addr = serve_guest(&guest, service_fn(chunked)).await;
    assert_eq!(
        exchange(addr, GET).await,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n6\r\ntwelve\r\n6\r\n bytes\r\n\
         0\r\n\r\n"
    );
}

#[tokio::test]
async fn a_rewritten_response_has_its_own_length() {
    let guest = around(BUFFER_RESPONSE, "", REWRITE);
    let addr = serve_guest(&guest, service_fn(twelve_bytes)).await;
    assert_eq!(
        exchange(addr, GET).await,
        "HTTP/1.1 200 OK\r\netag: x\r\ncontent-length: 9\r\nconnection: close\r\n\r\nrewritten"
    );
    let addr = serve_guest(&guest, service_fn(chunked)).await;
    assert_eq!(
        exchange(addr, GET).await,
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nrewritten"
    );
}

#[tokio::test]
async fn a_response_that_a_guest_has_read_gets_its_actual_length() {
    /// A response with contradictory framing, as from a client that has decoded the chunks but kept the header.
    async fn contradicts(_: Request<Body>) -> Result<Response<Body>, Infallible> {
        let response =
            Response::builder().header("content-length", "1").header("transfer-encoding", "chunked");
        let pieces = ["twelve", " bytes"].map(|piece| Ok(Bytes::from(piece)));
        Ok(response.body(streamed(stream::iter(pieces))).unwrap())
    }
    let read =
        |bytes| format!("(drop (call $read_body (i32.const 1) (global.get $buf) (i32.const {bytes})))");
    let addr = serve_guest(&around(BUFFER_RESPONSE, "", &read(100)), service_fn(contradicts)).await;
    assert_eq!(
        exchange(addr, GET).await,
        "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\ntwelve bytes"
    );
    let addr = serve_guest(&around(BUFFER_RESPONSE, "", &read(3)), service_fn(contradicts)).await;
    let answer = exchange(addr, GET).await;
    assert!(
        answer.contains("transfer-encoding: chunked\r\n") && !answer.contains("content-length"),
        "{answer}"
    );
    assert!(answer.ends_with("6\r\n bytes\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_rewritten_request_has_its_own_length() {
    let guest = around(NO_FEATURES, "(call $write_body (i32.const 0) {rewritten})", "");
    let addr = serve_guest(&guest, service_fn(describe)).await;
    for body in ["content-length: 3\r\n\r\nold", "transfer-encoding: chunked\r\n\r\n3\r\nold\r\n0\r\n\r\n"] {
        let answer =
            exchange(addr, format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{body}")).await;
        assert!(answer.contains("content-length: 9\n"), "{answer}");
        assert!(answer.contains("\n\nrewritten\n"), "{answer}");
        assert!(!answer.contains("transfer-encoding"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_is_reused_after_rewritten_and_unread_bodies() {
    for guest in [
        around(BUFFER_RESPONSE, "", REWRITE),
        around(NO_FEATURES, "(call $write_body (i32.const 0) {rewritten})", ""),
        around(BUFFER_REQUEST, "(drop (call $read_body (i32.const 0) (global.get $buf) (i32.const 7)))", ""),
    ] {
        let addr = serve_guest(&guest, service_fn(describe)).await;
        let mut raw = Raw::connect(addr).await;
        for _ in 0..3 {
            raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789").await;
            let answer = raw.read_until("\r\n\r\n").await;
            let length = answer.split_once("content-length: ").unwrap().1.split_once("\r\n").unwrap().0;
            let body = answer.split_once("\r\n\r\n").unwrap().1.len();
            let mut rest = vec![0; length.parse::<usize>().unwrap() - body];
            tokio::io::AsyncReadExt::read_exact(&mut raw.0, &mut rest).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_response_to_head_keeps_the_length_of_the_response_to_get() {
    let head = GET.replace("GET", "HEAD");
    for (guest, length) in [
        (around(BUFFER_RESPONSE, "", ""), 12),
        // The length that the next handler declares, since the response to HEAD has no body.
        (around(BUFFER_RESPONSE, "", REWRITE), 12),
        (
            around(
                BUFFER_RESPONSE,
                "",
                "(drop (call $read_body (i32.const 1) (global.get $buf) (i32.const 100)))",
            ),
            12,
        ),
    ] {
        let inner = service_fn(|_: Request<Body>| async {
            Ok(Response::builder().header("content-length", "12").body(Body::empty()).unwrap())
        });
        let addr = serve_guest(&guest, inner).await;
        assert_eq!(
            exchange(addr, &head).await,
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")
        );
    }
    let stops = guest(
        NO_FEATURES,
        r#"(func (export "handle_request") (result i64) (call $write_body (i32.const 1) {answer}) (i64.const 0))"#,
    );
    let addr = serve_guest(&stops, service_fn(hello)).await;
    assert_eq!(
        exchange(addr, &head).await,
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n"
    );
}

#[tokio::test]
async fn a_response_to_head_keeps_its_length_when_a_guest_sets_a_trailer() {
    let guest = around(BUFFER_RESPONSE, "", "(call $set_header_value (i32.const 3) {x-trailer} {1})");
    // A body whose length is known, but not declared in a header.
    let inner = service_fn(|_: Request<Body>| async { Ok(Response::new("twelve bytes".into_body())) });
    let addr = serve_guest(&guest, inner).await;
    let answer = exchange(addr, &GET.replace("GET", "HEAD")).await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 12\r\n\r\n");
}

#[tokio::test]
async fn the_response_to_a_head_changed_to_get_has_no_body_on_the_wire() {
    let guest = around(NO_FEATURES, "(call $set_method {GET})", "");
    let addr = serve_guest(&guest, service_fn(twelve_bytes)).await;
    let answer = exchange(addr, GET.replace("GET", "HEAD")).await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\netag: x\r\ncontent-length: 12\r\nconnection: close\r\n\r\n");
}

#[tokio::test]
async fn a_304_keeps_its_length_and_has_no_body_and_a_204_has_neither() {
    let status = |status: u16| {
        service_fn(move |_: Request<Body>| async move {
            let response = Response::builder().status(status);
            let response = if status == 304 { response.header("content-length", "12") } else { response };
            Ok(response.body(Body::empty()).unwrap())
        })
    };
    for guest in [around(BUFFER_RESPONSE, "", ""), around(BUFFER_RESPONSE, "", REWRITE)] {
        let addr = serve_guest(&guest, status(304)).await;
        // Over HTTP/1.1, hyper removes the length of a 304.
        assert_eq!(exchange(addr, GET).await, "HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n");
        let response = Client::http2(addr).await.send(get("/")).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-length")), (304, "12"));
        assert_eq!(text(response.into_body()).await, "");
        let answer = exchange(serve_guest(&guest, status(204)).await, GET).await;
        assert_eq!(answer, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    }
}

#[tokio::test]
async fn a_response_that_a_guest_changes_to_204_loses_its_body() {
    let guest = around(BUFFER_RESPONSE, "", "(call $set_status_code (i32.const 204))");
    for addr in
        [serve_guest(&guest, service_fn(twelve_bytes)).await, serve_guest(&guest, service_fn(chunked)).await]
    {
        let answer = exchange(addr, format!("GET / HTTP/1.1\r\nhost: a\r\n\r\n{GET}")).await;
        let (first, second) = answer.split_once("\r\n\r\n").unwrap();
        for answer in [first, second] {
            assert!(answer.starts_with("HTTP/1.1 204 No Content"), "{answer}");
            assert!(!answer.contains("content-length"), "{answer}");
            assert!(!answer.contains("twelve"), "{answer}");
        }
        for mut client in Client::both(addr).await {
            let response = client.send(get("/")).await;
            assert_eq!((response.status().as_u16(), text(response.into_body()).await), (204, String::new()));
        }
    }
}

#[tokio::test]
async fn a_204_that_a_guest_changes_to_200_can_have_a_body() {
    let guest = around(BUFFER_RESPONSE, "", &format!("(call $set_status_code (i32.const 200)) {REWRITE}"));
    let inner = service_fn(|_: Request<Body>| async {
        Ok(Response::builder().status(204).body(Body::empty()).unwrap())
    });
    let answer = exchange(serve_guest(&guest, inner).await, GET).await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\nrewritten");
}

#[tokio::test]
async fn framing_headers_that_a_guest_sets_are_ignored() {
    let lies = "(call $set_header_value (i32.const KIND) {content-length} {3})
        (call $add_header_value (i32.const KIND) {content-length} {4})
        (call $set_header_value (i32.const KIND) {transfer-encoding} {chunked})
        (call $remove_header (i32.const KIND) {content-length})";
    let guest = around(BUFFER_RESPONSE, &lies.replace("KIND", "0"), &lies.replace("KIND", "1"));
    let addr = serve_guest(&guest, service_fn(mirror)).await;
    for mut client in Client::both(addr).await {
        let response = client.send(post("/", "twelve bytes")).await;
        assert_eq!(header(&response, "transfer-encoding"), "");
        assert_eq!(text(response.into_body()).await, "twelve bytes");
    }
    let addr = serve_guest(&guest, service_fn(twelve_bytes)).await;
    assert_eq!(
        exchange(addr, GET).await,
        "HTTP/1.1 200 OK\r\netag: x\r\ncontent-length: 12\r\nconnection: close\r\n\r\ntwelve bytes"
    );
}

#[tokio::test]
async fn a_content_length_of_0_empties_a_body_that_the_guest_may_write() {
    let guest = around(
        BUFFER_RESPONSE,
        "(call $set_header_value (i32.const 0) {content-length} {0})",
        "(call $set_header_value (i32.const 1) {content-length} {0})",
    );
    let addr = serve_guest(&guest, service_fn(twelve_bytes)).await;
    let answer = exchange(addr, GET).await;
    assert!(answer.contains("content-length: 0\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let guest = around(NO_FEATURES, "(call $set_header_value (i32.const 0) {content-length} {0})", "");
    let addr = serve_guest(&guest, service_fn(describe)).await;
    let body = text(Client::http1(addr).await.send(post("/", "a body")).await.into_body()).await;
    assert!(body.contains("content-length: 0\n") && body.ends_with("\n\n\n"), "{body}");
}

const FORGED: [&str; 6] =
    ["connection", "keep-alive", "te", "upgrade", "transfer-encoding", "proxy-connection"];

#[tokio::test]
async fn connection_headers_that_a_guest_sets_on_a_response_never_reach_the_wire() {
    let forge: String = FORGED
        .iter()
        .map(|name| {
            format!(
                "(call $set_header_value (i32.const 1) {{{name}}} {{forged}})
                 (call $add_header_value (i32.const 1) {{{name}}} {{forged}})"
            )
        })
        .collect();
    for guest in [around(BUFFER_RESPONSE, &forge, ""), around(BUFFER_RESPONSE, "", &forge)] {
        let addr = serve_guest(&guest, service_fn(hello)).await;
        let answer = exchange(addr, GET).await;
        assert!(!answer.contains("forged"), "{answer}");
        assert_eq!(answer, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello");
        let response = Client::http2(addr).await.send(get("/")).await;
        assert!(FORGED.iter().all(|name| !response.headers().contains_key(*name)), "{response:?}");
    }
}

#[tokio::test]
async fn connection_headers_that_a_guest_sets_on_a_request_never_reach_the_next_handler() {
    let forge: String = FORGED
        .iter()
        .map(|name| format!("(call $set_header_value (i32.const 0) {{{name}}} {{forged}})"))
        .collect();
    let addr = serve_guest(&around(NO_FEATURES, &forge, ""), service_fn(describe)).await;
    for mut client in Client::both(addr).await {
        let seen = text(client.send(get("/")).await.into_body()).await;
        assert!(!seen.contains("forged"), "{seen}");
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks_or_trailers() {
    let guest = around(
        BUFFER_RESPONSE | TRAILERS,
        "(call $set_header_value (i32.const 1) {x-version}
            (global.get $buf) (call $get_protocol_version (global.get $buf) (i32.const 100)))",
        "(call $set_header_value (i32.const 3) {x-trailer} {dropped})",
    );
    let addr = serve_guest(&guest, service_fn(chunked)).await;
    let answer = exchange(addr, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains("x-version: HTTP/1.0\r\n"), "{answer}");
    assert!(!answer.contains("chunked") && !answer.contains("trailer"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ntwelve bytes"), "{answer}");

    let rewriting = around(BUFFER_RESPONSE, "", REWRITE);
    let addr = serve_guest(&rewriting, service_fn(chunked)).await;
    let answer = exchange(addr, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("content-length: 9\r\n") && answer.ends_with("\r\n\r\nrewritten"), "{answer}");
}

#[tokio::test]
async fn informational_statuses_that_a_guest_sets_are_dropped_without_an_error() {
    let inform = "(call $set_status_code (i32.const 103)) (call $set_status_code (i32.const 102))
        (call $set_status_code (i32.const STATUS)) (call $set_status_code (i32.const 103))";
    let guest = around(BUFFER_RESPONSE, &inform.replace("STATUS", "299"), &inform.replace("STATUS", "201"));
    let addr = serve_guest(&guest, service_fn(hello)).await;
    for mut client in Client::both(addr).await {
        let response = client.send(get("/")).await;
        assert_eq!(response.status(), 201);
        assert_eq!(text(response.into_body()).await, "hello");
    }
    let stops = guest_that_stops("(call $set_status_code (i32.const 103))");
    let addr = serve_guest(&stops, service_fn(hello)).await;
    for mut client in Client::both(addr).await {
        assert_eq!(client.send(get("/")).await.status(), 200);
    }
}

fn guest_that_stops(code: &str) -> http_wasm_tower::Guest {
    guest(NO_FEATURES, &format!(r#"(func (export "handle_request") (result i64) {code} (i64.const 0))"#))
}

#[tokio::test]
async fn a_guest_that_answers_early_does_not_wait_for_the_request_body() {
    let addr =
        serve_guest(&guest_that_stops("(call $set_status_code (i32.const 403))"), service_fn(hello)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\nexpect: 100-continue\r\n\r\n").await;
    let answer = raw.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
}

#[tokio::test]
async fn a_guest_that_reads_the_body_sends_100_continue() {
    let guest = around(
        BUFFER_REQUEST,
        "(drop (call $read_body (i32.const 0) (global.get $buf) (i32.const 100)))",
        "",
    );
    let addr = serve_guest(&guest, service_fn(mirror)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n").await;
    assert_eq!(raw.read_until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send("body").await;
    assert!(raw.read_until("body").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

/// A guest that gives a GET request a body whose length isn't known when it is sent.
fn adds_body(stream: Stream, on_request: &str) -> Guest {
    let text = format!(r#"(@custom "http-wasm-stream" "") {}"#, phases(on_request, ""));
    guest_with(|builder| builder.stream(stream), TRAILERS, &text)
}

#[tokio::test]
async fn hypers_client_sends_a_get_request_with_the_body_that_a_guest_has_added() {
    let describes = |request: Request<hyper::body::Incoming>| describe(request.map(Body::new));
    let upstream = serve(service_fn(describes)).await;
    let write = "(call $write_body (i32.const 0) {added})";
    let trailer = format!("(call $set_header_value (i32.const 2) {{x-end}} {{1}}) {write}");
    for (stream, on_request, end) in [
        (Stream::Request, write, ""),
        (Stream::Request, &trailer, "x-end: 1\n"),
        (Stream::Off, &trailer, "x-end: 1\n"),
    ] {
        let mut client = Client::http1(upstream).await;
        let forwards = async move |request| Ok::<_, Infallible>(client.send(request).await);
        let chain = Chain::new([adds_body(stream, on_request)]);
        let response = soon(chain.call(get("/"), forwards)).await.unwrap();
        let text = text(response.into_body()).await;
        assert!(text.contains("transfer-encoding: chunked\n"), "{text}");
        assert!(text.ends_with(&format!("\n\nadded\n{end}")), "{text}");
    }
}

#[tokio::test]
async fn only_requests_of_http_1_1_get_a_transfer_encoding() {
    let guest = adds_body(Stream::Request, "(call $write_body (i32.const 0) {added})");
    for (version, declares) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
        let mut request = get("/");
        *request.version_mut() = version;
        let response = soon(Chain::new([guest.clone()]).call(request, describe)).await.unwrap();
        let text = text(response.into_body()).await;
        assert_eq!(text.contains("transfer-encoding"), declares, "{text}");
        assert!(text.ends_with("\n\nadded\n"), "{text}");
    }
}
