//! Connections that stop being HTTP: WebSocket, CONNECT, and the rules for 101.

use std::convert::Infallible;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use http_wasm_tower::{Body, Chain, Guest, HttpWasmLayer};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};
use tower::{Layer as _, service_fn};

use crate::guests::*;
use crate::support::*;

/// Sets a header of the request and of the response, with buffer_response enabled.
fn decorator() -> Guest {
    around(
        BUFFER_REQUEST | BUFFER_RESPONSE,
        "(call $set_header_value (i32.const 0) {x-guest} {was here})",
        "(call $set_header_value (i32.const 1) {x-guest} {was here})",
    )
}

#[tokio::test]
async fn a_web_socket_echo_passes_a_chain_of_guests_that_rewrite_a_header() {
    let guests = [decorator(), decorator()];
    let echo = |headers: axum::http::HeaderMap, upgrade: WebSocketUpgrade| async move {
        assert_eq!(headers["x-guest"], "was here");
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
        })
    };
    let router = Router::new().route("/", axum::routing::any(echo));
    let addr = serve(HttpWasmLayer::from(Chain::new(guests.clone())).layer(router)).await;
    let request = format!("ws://{addr}/").into_client_request().unwrap();
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (mut socket, response) = soon(tokio_tungstenite::client_async(request, stream)).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["x-guest"], "was here");
    for guest in &guests {
        idle(guest, 1).await;
    }
    for message in [Message::text("hello"), Message::binary(noise(100_000))] {
        socket.send(message.clone()).await.unwrap();
        assert!(soon(socket.next()).await.unwrap().unwrap() == message);
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = soon(socket.next()).await {}
}

/// Switches to a protocol that echoes bytes in upper case.
async fn upgrading(mut request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let is_connect = request.method() == "CONNECT";
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        let mut buf = [0; 64];
        while let Ok(len @ 1..) = tokio::io::AsyncReadExt::read(&mut read, &mut buf).await {
            buf.make_ascii_uppercase();
            if tokio::io::AsyncWriteExt::write_all(&mut write, &buf[..len]).await.is_err() {
                break;
            }
        }
    });
    let response = match is_connect {
        true => Response::builder(),
        false => Response::builder().status(101).header("upgrade", "shout").header("connection", "upgrade"),
    };
    Ok(response.body(Body::empty()).unwrap())
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n";

#[tokio::test]
async fn any_upgrade_passes() {
    let guest = decorator();
    let addr = serve_guest(&guest, service_fn(upgrading)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(UPGRADE).await;
    let head = raw.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    for line in ["upgrade: shout\r\n", "connection: upgrade\r\n", "x-guest: was here\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    idle(&guest, 1).await;
    raw.send("not http").await;
    assert_eq!(raw.read_until("HTTP").await, "NOT HTTP");
}

#[tokio::test]
async fn connect_passes() {
    let guest = decorator();
    let addr = serve_guest(&guest, service_fn(upgrading)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send("CONNECT far.example:443 HTTP/1.1\r\nhost: far.example:443\r\n\r\n").await;
    let head = raw.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("x-guest: was here\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    raw.send("not http").await;
    assert_eq!(raw.read_until("HTTP").await, "NOT HTTP");
}

#[tokio::test]
async fn connect_over_http2_passes() {
    let addr = serve_guest(&decorator(), service_fn(upgrading)).await;
    let mut client = Client::http2(addr).await;
    let request = Request::connect("far.example:443").body(Body::empty()).unwrap();
    let response = client.send(request).await;
    assert_eq!((response.status().as_u16(), header(&response, "x-guest")), (200, "was here"));
    let mut tunnel = TokioIo::new(soon(hyper::upgrade::on(response)).await.unwrap());
    tokio::io::AsyncWriteExt::write_all(&mut tunnel, b"not http").await.unwrap();
    let mut answer = [0; 8];
    soon(tokio::io::AsyncReadExt::read_exact(&mut tunnel, &mut answer)).await.unwrap();
    assert_eq!(&answer, b"NOT HTTP");
}

#[tokio::test]
async fn a_web_socket_over_http2_passes() {
    let addr = serve_guest(&decorator(), service_fn(upgrading)).await;
    let Client::Http2(mut client) = Client::http2(addr).await else { unreachable!() };
    // The server's settings, which allow an extended CONNECT, arrive with its first response.
    soon(client.send_request(Request::connect("a.example:443").body(Body::empty()).unwrap())).await.unwrap();
    let mut request = Request::connect("http://a.example/chat").body(Body::empty()).unwrap();
    request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
    let response = soon(client.send_request(request)).await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "x-guest")), (200, "was here"));
    let mut tunnel = TokioIo::new(soon(hyper::upgrade::on(response)).await.unwrap());
    tokio::io::AsyncWriteExt::write_all(&mut tunnel, b"not http").await.unwrap();
    let mut answer = [0; 8];
    soon(tokio::io::AsyncReadExt::read_exact(&mut tunnel, &mut answer)).await.unwrap();
    assert_eq!(&answer, b"NOT HTTP");
}

#[tokio::test]
async fn the_body_of_a_101_reads_as_ended() {
    let guest = around(
        BUFFER_RESPONSE,
        "",
        "(if (i64.ne (call $read_body (i32.const 1) (global.get $buf) (i32.const 10)) (i64.const 0x1_0000_0000))
            (then unreachable))",
    );
    let addr = serve_guest(&guest, service_fn(upgrading)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(UPGRADE).await;
    raw.read_until("\r\n\r\n").await;
    raw.send("not http").await;
    assert_eq!(raw.read_until("HTTP").await, "NOT HTTP");
}

#[tokio::test]
async fn changing_status_or_body_of_a_101_fails() {
    for after in ["(call $set_status_code (i32.const 200))", "(call $write_body (i32.const 1) {body})"] {
        let addr = serve_guest(&around(BUFFER_RESPONSE, "", after), service_fn(upgrading)).await;
        let mut raw = Raw::connect(addr).await;
        raw.send(UPGRADE).await;
        let head = raw.read_until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{after}: {head}");
    }
}

#[tokio::test]
async fn framing_headers_that_a_guest_sets_on_a_101_are_ignored() {
    let guest = around(
        BUFFER_RESPONSE,
        "",
        "(call $set_header_value (i32.const 1) {content-length} {0})
         (call $set_header_value (i32.const 1) {transfer-encoding} {chunked})",
    );
    let addr = serve_guest(&guest, service_fn(upgrading)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(UPGRADE).await;
    let head = raw.read_until("\r\n\r\n").await;
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    raw.send("not http").await;
    assert_eq!(raw.read_until("HTTP").await, "NOT HTTP");
}

#[tokio::test]
async fn a_101_set_by_a_guest_fails() {
    for guest in [
        around(NO_FEATURES, "(call $set_status_code (i32.const 101))", ""),
        around(BUFFER_RESPONSE, "", "(call $set_status_code (i32.const 101))"),
    ] {
        let addr = serve_guest(&guest, service_fn(hello)).await;
        for mut client in Client::both(addr).await {
            assert_eq!(client.send(get("/")).await.status(), 500);
        }
    }
}

#[tokio::test]
async fn bytes_written_before_the_next_handler_are_dropped_on_an_upgrade() {
    let guest = around(NO_FEATURES, "(call $write_body (i32.const 1) {early})", "");
    let addr = serve_guest(&guest, service_fn(upgrading)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(UPGRADE).await;
    assert!(raw.read_until("\r\n\r\n").await.ends_with("\r\n\r\n"));
    raw.send("not http").await;
    assert_eq!(raw.read_until("HTTP").await, "NOT HTTP");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_response() {
    let addr = serve_guest(&decorator(), service_fn(hello)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send(UPGRADE).await;
    let answer = raw.read_until("hello").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("content-length: 5\r\n"),
        "{answer}"
    );
}
