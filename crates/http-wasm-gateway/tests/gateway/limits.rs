//! Limits for HTTP/1.1 clients.

use std::time::Instant;

use crate::support::{Server, TIMEOUT, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// The status of the response, which must be the only one and not reveal anything about the host.
fn status(answer: &str) -> &str {
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.to_ascii_lowercase().contains("connection: close"), "{answer}");
    assert!(body.len() < 60 && !body.contains("rust"), "{answer}");
    answer[9..].split("\r\n").next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_header_fields_or_too_large_ones_are_refused() {
    let server = Server::echo("limits = { max_headers = 10, max_header_size = '10KiB' }").await;
    let fields = |count: usize, size: usize| {
        let fields = format!("X: {}\r\n", "y".repeat(size)).repeat(count);
        format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n")
    };
    assert!(server.exchange(fields(8, 1000)).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let too_large = "431 Request Header Fields Too Large";
    assert_eq!(status(&server.exchange(fields(9, 1)).await), too_large);
    assert_eq!(status(&server.exchange(fields(1, 11_000)).await), too_large);
    let unfinished = fields(1, 50_000);
    assert_eq!(status(&server.exchange(unfinished.trim_end()).await), too_large);
    let target = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(11_000));
    assert_eq!(status(&server.exchange(target).await), too_large);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_head_ends_the_connection_at_the_timeout() {
    let server = Server::echo("limits = { header_timeout = '300ms', idle_timeout = '1h' }").await;
    for sent in ["", "P", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX: "] {
        let mut raw = server.connect().await;
        raw.send(sent).await;
        let answer = raw.read_to_end().await;
        // Only HTTP/1.1 can be answered.
        let answered = answer.starts_with("HTTP/1.1 408 Request Timeout\r\n");
        assert_eq!(
            (answered, answer.is_empty()),
            (sent.contains("GET"), !sent.contains("GET")),
            "{sent:?}: {answer}"
        );
    }
    // The same applies to a head that arrives slowly, and to a later one. The first request must be complete in time
    // even on a busy machine.
    let server = Server::echo("limits = { header_timeout = '3s', idle_timeout = '1h' }").await;
    let mut raw = server.connect().await;
    raw.send(GET).await;
    raw.read_until("trailers").await;
    raw.send("GET / HTTP/1.1\r\nHost: h\r\n").await;
    let start = Instant::now();
    while raw.0.try_write(b"X: y\r\n").is_ok() {
        assert!(start.elapsed() < TIMEOUT, "it goes on forever");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed() {
    let server = Server::echo("limits = { header_timeout = '1h', idle_timeout = '300ms' }").await;
    let mut raw = server.connect().await;
    raw.send(GET).await;
    raw.read_until("trailers").await;
    raw.read_to_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_or_slow_body_gets_408() {
    let server = Server::echo("limits = { body_timeout = '300ms', min_body_rate = 1000 }").await;
    let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n";
    assert_eq!(status(&server.exchange(format!("{head}abc")).await), "408 Request Timeout");

    let mut raw = server.connect().await;
    raw.send(head).await;
    let (mut receiving, mut sending) = raw.0.into_split();
    let drip = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while sending.write_all(b"a").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let mut answer = String::new();
    // The slow sender may reset the connection once it is closed; the response must have arrived before.
    let _ = soon(tokio::io::AsyncReadExt::read_to_string(&mut receiving, &mut answer)).await;
    assert_eq!(status(&answer), "408 Request Timeout");
    drip.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_by_its_length_or_while_it_arrives() {
    let server = Server::echo("limits = { max_request_body = 10 }").await;
    let whole = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789";
    assert!(server.exchange(whole).await.contains("0123456789"));

    let declared = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(status(&server.exchange(declared).await), "413 Payload Too Large");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sent = format!("{chunked}{}0\r\n\r\n", chunk.repeat(500));
    let mut raw = server.connect().await;
    // The connection may be closed before everything is sent.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.0, sent.as_bytes()).await;
    assert_eq!(status(&raw.read_to_end().await), "413 Payload Too Large");
    let unfinished = format!("{chunked}{chunk}");
    assert_eq!(status(&server.exchange(unfinished).await), "413 Payload Too Large");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_until_there_is_room() {
    let server = Server::echo("limits = { max_connections = 2 }").await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for raw in [&mut first, &mut second] {
        raw.send(GET).await;
        raw.read_until("trailers").await;
    }
    let mut third = server.connect().await;
    third.send(GET).await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), third.0.readable()).await;
    assert!(early.is_err(), "it is answered while there is no room");
    drop(first);
    third.read_until("trailers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_gets_408_after_earlier_responses() {
    let server = Server::echo("limits = { header_timeout = '300ms', idle_timeout = '1h' }").await;
    for before in ["", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"] {
        let answer = server.exchange(format!("{before}GET /slow HTTP/1.1\r\nHost:")).await;
        let (first, last) = answer.split_at(answer.rfind("HTTP/1.1 ").expect("an answer"));
        assert!(last.starts_with("HTTP/1.1 408 Request Timeout\r\ndate: "), "{answer}");
        assert!(last.ends_with("\r\n\r\nthe request took too long\n"), "{answer}");
        assert_eq!(first.is_empty(), before.is_empty(), "{answer}");
    }
}
