//! Informational responses of upstreams, forwarded to clients.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::files::Files;
use crate::support::{Server, soon};

const HINT: &str =
    "HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A gateway in front of an upstream that answers each request with these bytes.
async fn gateway(answer: String) -> Server {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = upstream.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = upstream.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while stream.read_exact(&mut byte).await.is_ok() {
                    head.extend(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    let route = format!("[[routes]]\nupstream = 'u'\n[upstreams.u]\naddresses = ['http://{addr}']\n");
    Server::start(&format!("listen = ['127.0.0.1:0']\n{route}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_reach_clients_of_http_1_1_before_each_response() {
    let server = gateway(format!("HTTP/1.1 100 Continue\r\n\r\n{HINT}{HINT}{OK}")).await;
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </s.css>; rel=preload\r\n\r\n";
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let answer = client.read_until("ok").await;
        let rest = answer.strip_prefix(&hint.repeat(2)).unwrap_or_else(|| panic!("{answer}"));
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    // Pipelined requests each get theirs, in order.
    let (first, last) =
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = server.exchange(format!("{first}{last}")).await;
    let statuses: Vec<_> =
        answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses.iter().filter(|status| **status == "200").count(), 2, "{answer}");
    assert_eq!(statuses.last(), Some(&"200"), "{answer}");
    let old = server.exchange("GET / HTTP/1.0\r\nHost: h\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 OK\r\n"), "{old}");
}

#[tokio::test(flavor = "multi_thread")]
async fn early_hints_reach_clients_of_http_2() {
    let server = gateway(format!("{HINT}{OK}")).await;
    let stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://h/").body(()).unwrap();
    let (mut response, _) = client.send_request(request, true).unwrap();
    let hint = soon(std::future::poll_fn(|cx| response.poll_informational(cx))).await;
    let hint = hint.expect("a hint").unwrap();
    assert_eq!((hint.status().as_u16(), hint.headers().len()), (103, 1), "{hint:?}");
    assert_eq!(hint.headers()["link"], "</s.css>; rel=preload");
    assert_eq!(soon(response).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_early_hints_is_bounded() {
    let large = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(600));
    let server = gateway(format!("{}{OK}", large.repeat(100))).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = client.read_until("\r\n\r\nok").await;
    let count = answer.matches("HTTP/1.1 103").count();
    assert!((10..=27).contains(&count) && answer.contains("HTTP/1.1 200 OK\r\n"), "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_early_hint_carries_the_fields_it_has_set() {
    let files = Files::new();
    let guest = r#"(module
      (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
      (import "http_handler" "set_status_code" (func $status (param i32)))
      (memory (export "memory") 1)
      (data (i32.const 0) "link</g>")
      (func (export "handle_request") (result i64)
        (call $set (i32.const 1) (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 4))
        (call $status (i32.const 103))
        (i64.const 1))
      (func (export "handle_response") (param i32 i32)))"#;
    std::fs::write(files.path("hint.wat"), guest).unwrap();
    let config = "listen = ['127.0.0.1:0']\n[guests.hint]\npath = 'hint.wat'\n\
                  [[routes]]\nguests = ['hint']\nbackend = 'hello'\n";
    let server = Server::start_with(files, config).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let answer = client.read_until("hello world").await;
        let hint = "HTTP/1.1 103 Early Hints\r\nlink: </g>\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert!(answer.starts_with(hint), "{answer}");
    }
}
