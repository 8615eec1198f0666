//! `Upgrade` through the proxy.

use crate::support::{Raw, Server, Upstream};

const WISH: &str =
    "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
const CONSENT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Kept: 1\r\n\r\n";

#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways_until_one_side_ends_it() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send(WISH).await;
    let mut server = upstream.accept().await;
    let wish = server.read_until("\r\n\r\n").await;
    assert!(wish.contains("connection: upgrade\r\n") && wish.contains("upgrade: websocket\r\n"), "{wish}");
    // Bytes right behind the head belong to the new protocol already.
    server.send(format!("{CONSENT}first")).await;
    let consent = client.read_until("first").await.to_ascii_lowercase();
    assert!(consent.starts_with("http/1.1 101 "), "{consent}");
    for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "x-kept: 1\r\n"] {
        assert!(consent.contains(field), "{consent}");
    }
    client.send(b"\x81\x05ping!").await;
    server.read_until("ping!").await;
    server.send(b"\x81\x05pong!").await;
    client.read_until("pong!").await;
    drop(server);
    assert_eq!(client.read_to_end().await, "");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send(WISH).await;
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;
    server.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let answer = client.read_until("\r\n\r\nno").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn a_wish_for_http_2_is_not_passed_on() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n")
        .await;
    let mut server = upstream.accept().await;
    let head = server.read_until("\r\n\r\n").await;
    assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_a_502() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;
    server.send(CONSENT).await;
    let answer = client.read_until("bad gateway\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[cfg(unix)]
#[tokio::test]
async fn an_open_tunnel_does_not_hold_up_the_end() {
    let upstream = Upstream::bind().await;
    let mut proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send(WISH).await;
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;
    server.send(CONSENT).await;
    client.read_until("\r\n\r\n").await;
    proxy.signal("TERM");
    assert_eq!(proxy.wait().await.code(), Some(0));
}
