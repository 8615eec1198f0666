//! What a guest sees of a request, and how its changes affect what the next handler sees.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use http_wasm_tower::{Guest, HttpWasmLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::guests::*;
use crate::support::*;

/// Answers with the value of a function that fills a buffer.
fn reporting_guest(function: &str) -> Guest {
    around(
        NO_FEATURES,
        &format!(
            "(call $set_header_value (i32.const 1) {{x-told}}
                (global.get $buf) (call ${function} (global.get $buf) (i32.const 1000)))"
        ),
        "",
    )
}

/// Answers with the value of the request's `host` header.
fn host_reporting_guest() -> Guest {
    around(
        NO_FEATURES,
        "(call $set_header_value (i32.const 1) {x-told} (global.get $buf)
            (i32.sub
                (i32.wrap_i64 (call $get_header_values (i32.const 0) {host} (global.get $buf) (i32.const 1000)))
                (i32.const 1)))",
        "",
    )
}

#[tokio::test]
async fn the_source_address_comes_from_our_extension() {
    let addr = serve_guest(&reporting_guest("get_source_addr"), service_fn(hello)).await;
    let mut raw = Raw::connect(addr).await;
    let client = raw.0.local_addr().unwrap();
    raw.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = raw.read_until("\r\n\r\n").await;
    assert!(head.contains(&format!("x-told: {client}\r\n")), "{head}");
}

#[tokio::test]
async fn the_source_address_comes_from_axums_connect_info() {
    let layer = HttpWasmLayer::new(reporting_guest("get_source_addr"))
        .source_addr(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
    let app = Router::new().fallback(|| async { "hello" }).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
    });
    let mut raw = Raw::connect(addr).await;
    let client = raw.0.local_addr().unwrap();
    raw.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = raw.read_until("\r\n\r\n").await;
    assert!(head.contains(&format!("x-told: {client}\r\n")), "{head}");
}

#[tokio::test]
async fn an_ipv6_source_address_is_in_brackets_and_an_unknown_one_is_empty() {
    let guest = reporting_guest("get_source_addr");
    let mut request = get("/");
    request.extensions_mut().insert(http_wasm_tower::SourceAddr("[2001:db8::1]:443".parse().unwrap()));
    assert_eq!(header(&call(&guest, service_fn(hello), request).await, "x-told"), "[2001:db8::1]:443");
    let response = call(&guest, service_fn(hello), get("/")).await;
    assert_eq!(response.headers()["x-told"], "");
}

#[tokio::test]
async fn the_protocol_version_is_the_clients() {
    let addr = serve_guest(&reporting_guest("get_protocol_version"), service_fn(hello)).await;
    let [mut http1, mut http2] = Client::both(addr).await;
    assert_eq!(header(&http1.send(get("/")).await, "x-told"), "HTTP/1.1");
    assert_eq!(header(&http2.send(get("/")).await, "x-told"), "HTTP/2.0");
    assert!(exchange(addr, "GET / HTTP/1.0\r\n\r\n").await.contains("x-told: HTTP/1.0\r\n"));
}

#[tokio::test]
async fn the_host_header_is_present_in_either_protocol_version() {
    let addr = serve_guest(&host_reporting_guest(), service_fn(hello)).await;
    for mut client in Client::both(addr).await {
        assert_eq!(header(&client.send(get("/")).await, "x-told"), "example.com");
    }
    // In absolute form, the target has the authority, in addition to a host header.
    let answer =
        exchange(addr, "GET http://a.example/ HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")
            .await;
    assert!(answer.contains("x-told: a.example\r\n"), "{answer}");
}

#[tokio::test]
async fn a_host_that_a_guest_sets_takes_effect_on_the_next_handler() {
    for function in ["set_header_value", "add_header_value"] {
        let guest = around(
            NO_FEATURES,
            &format!("(call ${function} (i32.const 0) {{host}} {{other.example:81}})"),
            "",
        );
        let addr = serve_guest(&guest, service_fn(describe)).await;
        let [mut http1, mut http2] = Client::both(addr).await;
        let seen = text(http1.send(get("/path?query")).await.into_body()).await;
        assert_eq!(seen, "GET /path?query HTTP/1.1\nhost: other.example:81\n\n\n");
        let seen = text(http2.send(get("/path?query")).await.into_body()).await;
        assert_eq!(seen, "GET http://other.example:81/path?query HTTP/2.0\nhost: other.example:81\n\n\n");
    }
}

#[tokio::test]
async fn axum_sees_the_host_that_a_guest_sets() {
    let guest = around(NO_FEATURES, "(call $set_header_value (i32.const 0) {host} {other.example})", "");
    let router = Router::new().fallback(|uri: axum::http::Uri, headers: axum::http::HeaderMap| async move {
        format!("{:?} {}", uri.host(), headers["host"].to_str().unwrap())
    });
    let service = HttpWasmLayer::new(guest).layer(router);
    let [mut http1, mut http2] = Client::both(serve(service).await).await;
    assert_eq!(text(http1.send(get("/")).await.into_body()).await, "None other.example");
    assert_eq!(text(http2.send(get("/")).await.into_body()).await, r#"Some("other.example") other.example"#);
}

#[tokio::test]
async fn a_rewritten_request_line_keeps_scheme_and_authority() {
    let guest = around(
        NO_FEATURES,
        "(call $set_method {PUT}) (call $set_uri {/new path?a=b#c})
         (call $set_header_value (i32.const 0) {x-one} {1}) (call $remove_header (i32.const 0) {x-gone})",
        "",
    );
    let addr = serve_guest(&guest, service_fn(describe)).await;
    let [mut http1, mut http2] = Client::both(addr).await;
    let request =
        || http::Request::get("/old?x").header("x-gone", "1").body(http_wasm_tower::Body::empty()).unwrap();
    let seen = text(http1.send(request()).await.into_body()).await;
    assert!(seen.starts_with("PUT /new%20path?a=b%23c HTTP/1.1\n"), "{seen}");
    assert!(seen.contains("x-one: 1\n") && !seen.contains("x-gone"), "{seen}");
    let seen = text(http2.send(request()).await.into_body()).await;
    assert!(seen.starts_with("PUT http://example.com/new%20path?a=b%23c HTTP/2.0\n"), "{seen}");
}

#[tokio::test]
async fn options_asterisk_passes_and_its_uri_reads_as_an_asterisk() {
    let addr = serve_guest(&reporting_guest("get_uri"), service_fn(describe)).await;
    let answer = exchange(addr, "OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("x-told: *\r\n"), "{answer}");
    assert!(answer.contains("OPTIONS * HTTP/1.1\n"), "{answer}");
}

#[tokio::test]
async fn headers_keep_their_order_and_bytes() {
    let addr = serve_guest(&around(NO_FEATURES, "", ""), service_fn(mirror)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(b"GET / HTTP/1.1\r\nhost: a\r\nx-bytes: \xff\xe9\r\n\r\n").await;
    assert!(raw.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200 OK"));
    let names = around(
        NO_FEATURES,
        "(call $write_body (i32.const 1) (global.get $buf)
            (i32.wrap_i64 (call $get_header_names (i32.const 0) (global.get $buf) (i32.const 1000))))",
        "",
    );
    let service = HttpWasmLayer::new(names).layer(service_fn(mirror));
    let request = http::Request::get("/")
        .header("Zeta", "1")
        .header("host", "a")
        .header("alpha", "2")
        .header("zeta", "3");
    let response = service.oneshot(request.body(http_wasm_tower::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(text(response.into_body()).await, "zeta\0host\0alpha\0");
}

#[tokio::test]
async fn handle_response_reads_the_request_as_it_was_forwarded() {
    let guest = around(
        BUFFER_RESPONSE,
        "(call $set_uri {/changed}) (call $set_header_value (i32.const 0) {x-a} {guest})",
        "(call $set_header_value (i32.const 1) {x-uri} (global.get $buf) \
             (call $get_uri (global.get $buf) (i32.const 100)))
         (call $set_header_value (i32.const 1) {x-method} (global.get $buf) \
             (call $get_method (global.get $buf) (i32.const 100)))
         (call $set_header_value (i32.const 1) {x-a} (global.get $buf)
            (i32.sub
                (i32.wrap_i64 (call $get_header_values (i32.const 0) {x-a} (global.get $buf) (i32.const 100)))
                (i32.const 1)))",
    );
    let response = call(&guest, service_fn(hello), get("/first")).await;
    assert_eq!(header(&response, "x-uri"), "/changed");
    assert_eq!(header(&response, "x-method"), "GET");
    assert_eq!(header(&response, "x-a"), "guest");
}
