//! Responses before the request body has been read: the connection stays open, or the client is told that it closes.

use std::time::Duration;

use crate::files::Files;
use crate::support::{Raw, Server, soon};

/// Answers 403 without reading the body.
const DENY: &str = r#"(module
  (import "http_handler" "set_status_code" (func $status (param i32)))
  (memory (export "memory") 1)
  (func (export "handle_request") (result i64) (call $status (i32.const 403)) (i64.const 0))
  (func (export "handle_response") (param i32 i32)))"#;

async fn server() -> Server {
    let dead = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("there are ports");
        socket.local_addr().expect("it has an address")
    };
    let files = Files::new();
    files.write("deny.wat", DENY);
    let config = format!(
        "listen = ['127.0.0.1:0']\n[guests.deny]\npath = 'deny.wat'\n\
         [upstreams.dead]\naddresses = ['http://{dead}']\nretries = 0\n\
         [[routes]]\npath = '/deny'\nguests = ['deny']\nbackend = 'hello'\n\
         [[routes]]\npath = '/respond'\nrespond = {{ status = 401 }}\n\
         [[routes]]\npath = '/large'\nmax_request_body = 2\nbackend = 'hello'\n\
         [[routes]]\npath = '/dead'\nupstream = 'dead'\n\
         [[routes]]\npath = '/hello'\nbackend = 'hello'\n"
    );
    Server::start_with(files, &config).await
}

const PATHS: [(&str, &str); 6] = [
    ("/deny", "403"),
    ("/respond", "401"),
    ("/large", "413"),
    ("/dead", "502"),
    ("/none", "404"),
    ("/hello", "200"),
];

/// The status of the next response, and whether it says that the connection closes.
async fn answer(raw: &mut Raw) -> (String, bool) {
    let head = raw.read_until("\r\n\r\n").await;
    (head[9..12].to_owned(), head.to_ascii_lowercase().contains("\r\nconnection: close\r\n"))
}

/// Whether another request is answered.
async fn stays_open(raw: &mut Raw) -> bool {
    let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.0, b"GET /hello HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut all = Vec::new();
    while let Ok(1..) = soon(tokio::io::AsyncReadExt::read_buf(&mut raw.0, &mut all)).await {
        if all.windows(15).any(|window| window == b"HTTP/1.1 200 OK") {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_stays_open_after_a_short_unread_body() {
    let server = server().await;
    for (path, status) in PATHS {
        for (head, parts) in [
            ("Content-Length: 3", ["abc", ""]),
            ("Content-Length: 3", ["", "abc"]),
            ("Content-Length: 3", ["a", "bc"]),
            ("Transfer-Encoding: chunked", ["3\r\nabc\r\n0\r\n\r\n", ""]),
        ] {
            let mut raw = server.connect().await;
            raw.send(format!("POST {path} HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n{}", parts[0])).await;
            // Without a length, this body is only too large for a backend that reads it.
            let status = if head.contains("chunked") && path == "/large" { "200" } else { status };
            let case = (path, head, parts);
            assert_eq!(answer(&mut raw).await, (status.to_owned(), false), "{case:?}");
            raw.send(parts[1]).await;
            assert!(stays_open(&mut raw).await, "{case:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closes_after_a_long_unread_body_that_can_be_sent_completely() {
    let server = server().await;
    let body = vec![b'x'; 5_000_000];
    for (path, status) in PATHS {
        let mut raw = server.connect().await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
        raw.send(head).await;
        raw.send(&body).await;
        assert_eq!(answer(&mut raw).await, (status.to_owned(), true), "{path}");
        assert!(!stays_open(&mut raw).await, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closes_if_an_announced_body_was_not_requested_by_100_continue() {
    let server = server().await;
    for (path, status) in PATHS {
        for sent in ["", "abc"] {
            let mut raw = server.connect().await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
            );
            raw.send(head).await;
            let (got, closes) = answer(&mut raw).await;
            // If the body was requested, the reason was that the upstream couldn't be reached.
            assert!(got == status && closes || got == "100" && path == "/dead", "{path}: {got} {closes}");
            raw.send(sent).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_unread_chunked_body_is_awaited_only_briefly() {
    let server = server().await;
    let mut raw = server.connect().await;
    raw.send("POST /respond HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    assert_eq!(answer(&mut raw).await, ("401".to_owned(), true));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.0, b"3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(raw.read_to_end().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_closes_if_the_upstream_answers_early_and_never_reads_the_upload() {
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("there are ports");
    let config = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\nlimits = {{ body_timeout = '300ms' }}\n\
         [upstreams.u]\naddresses = ['http://{}']\n[[routes]]\nupstream = 'u'\n",
        upstream.local_addr().expect("it has an address")
    );
    let server = Server::start(&config).await;
    let mut raw = server.connect().await;
    raw.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n").await;
    let mut upstream = Raw(upstream.accept().await.expect("it connects").0);
    upstream.read_until("\r\n\r\n").await;
    upstream.send("HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nlarg").await;
    raw.read_until("larg").await;
    let (mut receiving, mut sending) = raw.0.into_split();
    let upload = tokio::spawn(async move {
        let piece = vec![b'x'; 64 * 1024];
        while tokio::io::AsyncWriteExt::write_all(&mut sending, &piece).await.is_ok() {}
    });
    // The upstream keeps its connection open without reading.
    let end = soon(tokio::io::AsyncReadExt::read(&mut receiving, &mut [0; 10])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    soon(upload).await.expect("it ends");
}
