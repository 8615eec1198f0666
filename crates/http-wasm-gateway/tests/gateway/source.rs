//! Whom the guests and upstreams take for the client.

use crate::files::Files;
use crate::support::Server;

/// Answers with the client's address.
const TELLS: &str = r#"(module
  (import "http_handler" "get_source_addr" (func $addr (param i32 i32) (result i32)))
  (import "http_handler" "write_body" (func $write (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "handle_request") (result i64)
    (call $write (i32.const 1) (i32.const 0) (call $addr (i32.const 0) (i32.const 100)))
    i64.const 0)
  (func (export "handle_response") (param i32 i32)))"#;

async fn start(listen: &str) -> Server {
    let files = Files::new();
    files.write("tells.wat", TELLS);
    let config = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n{listen}\n[guests.tells]\npath = 'tells.wat'\n\
         [[routes]]\npath = '/echo'\nbackend = 'echo'\n[[routes]]\nguests = ['tells']\nbackend = 'hello'\n"
    );
    Server::start_with(files, &config).await
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_the_client_that_a_trusted_proxy_names() {
    let server = start("trusted_proxies = ['127.0.0.1', '10.0.0.0/8']").await;
    let answer = server.exchange(get("/", "X-Forwarded-For: 6.6.6.6, 2.2.2.2, 10.1.1.1\r\n")).await;
    assert!(answer.ends_with("\r\n\r\n2.2.2.2:0"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_trusted_cannot_pretend_to_be_another() {
    for listen in ["", "trusted_proxies = ['10.0.0.0/8']"] {
        let server = start(listen).await;
        let claims = "X-Forwarded-For: 2.2.2.2\r\nX-Forwarded-Proto: https\r\n";
        let answer = server.exchange(get("/", claims)).await;
        assert!(answer.contains("\r\n\r\n127.0.0.1:"), "{answer}");
        let answer = server.exchange(get("/echo", claims)).await;
        assert!(!answer.contains("2.2.2.2") && !answer.contains("https"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_the_client_that_a_proxy_header_names() {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x02\x02\x02\x02\x0a\0\0\x01\x30\x39\0\x50";
    let settings = "proxy_protocol = 'v2'\ntrusted_proxies = ['127.0.0.0/8']\n";
    let server = start(settings).await;
    let answer = server.exchange([&header[..], get("/", "").as_bytes()].concat()).await;
    assert!(answer.ends_with("\r\n\r\n2.2.2.2:12345"), "{answer}");
    // The client that it names is not trusted in turn.
    let request = get("/", "X-Forwarded-For: 3.3.3.3\r\n");
    let answer = server.exchange([&header[..], request.as_bytes()].concat()).await;
    assert!(answer.ends_with("\r\n\r\n2.2.2.2:12345"), "{answer}");

    assert_eq!(server.exchange(get("/", "")).await, "", "no header, no answer");
    let strict = start("proxy_protocol = 'v2'\ntrusted_proxies = ['10.0.0.0/8']\n").await;
    assert_eq!(strict.exchange([&header[..], get("/", "").as_bytes()].concat()).await, "");
}
