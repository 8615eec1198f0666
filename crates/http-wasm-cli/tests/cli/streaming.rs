//! Streaming: bytes arrive when they are sent.

use crate::support::{Raw, Server, Upstream};

#[tokio::test]
async fn a_proxied_exchange_streams_both_ways_at_once() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;
    server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.read_until("\r\n\r\n").await;
    for round in 1..=3 {
        let (ask, answer) = (format!("ask{round}"), format!("ans{round}"));
        client.send(format!("4\r\n{ask}\r\n")).await;
        server.read_until(&ask).await;
        server.send(format!("4\r\n{answer}\r\n")).await;
        client.read_until(&answer).await;
    }
    client.send("0\r\n\r\n").await;
    server.read_until("0\r\n\r\n").await;
    server.send("0\r\n\r\n").await;
    client.read_until("0\r\n\r\n").await;
}

#[tokio::test]
async fn a_server_sent_event_arrives_when_it_is_sent() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send("GET /events HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n").await;
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;
    server.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
    client.read_until("\r\n\r\n").await;
    for event in ["data: one\n\n", "data: two\n\n"] {
        server.send(event).await;
        client.read_until(event).await;
    }
    // The length was unknown, so the end of the upstream's connection is the end of the response.
    drop(server);
    client.read_until("0\r\n\r\n").await;
}

#[tokio::test]
async fn a_client_disconnect_cancels_the_request_to_the_upstream() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;
    drop(client);
    assert_eq!(server.read_to_end().await, "");
}
