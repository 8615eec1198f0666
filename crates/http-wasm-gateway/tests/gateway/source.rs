//! The client's address, as guests and upstreams see it.

use crate::files::Files;
use crate::support::Server;

/// Answers with the client's address.
const ANSWERS_ADDRESS: &str = r#"(module
  (import "http_handler" "get_source_addr" (func $addr (param i32 i32) (result i32)))
  (import "http_handler" "write_body" (func $write (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "handle_request") (result i64)
    (call $write (i32.const 1) (i32.const 0) (call $addr (i32.const 0) (i32.const 100)))
    i64.const 0)
  (func (export "handle_response") (param i32 i32)))"#;

async fn start(listen: &str) -> Server {
    let files = Files::new();
    files.write("tells.wat", ANSWERS_ADDRESS);
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
async fn an_untrusted_client_cannot_spoof_its_address() {
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
    // The client that the proxy names isn't trusted.
    let request = get("/", "X-Forwarded-For: 3.3.3.3\r\n");
    let answer = server.exchange([&header[..], request.as_bytes()].concat()).await;
    assert!(answer.ends_with("\r\n\r\n2.2.2.2:12345"), "{answer}");

    assert_eq!(server.exchange(get("/", "")).await, "", "no header, no answer");
    let strict = start("proxy_protocol = 'v2'\ntrusted_proxies = ['10.0.0.0/8']\n").await;
    assert_eq!(strict.exchange([&header[..], get("/", "").as_bytes()].concat()).await, "");
}

/// Sets the header `x-user` to `alice`, adds `x-role`, and removes `x-debug`.
const SETS: &str = r#"(module
  (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
  (import "http_handler" "add_header_value" (func $add (param i32 i32 i32 i32 i32)))
  (import "http_handler" "remove_header" (func $remove (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-userx-rolex-debugalice")
  (func (export "handle_request") (result i64)
    (call $set (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 19) (i32.const 5))
    (call $add (i32.const 0) (i32.const 6) (i32.const 6) (i32.const 19) (i32.const 5))
    (call $remove (i32.const 0) (i32.const 12) (i32.const 7))
    i64.const 1)
  (func (export "handle_response") (param i32 i32)))"#;

async fn setting(more: &str) -> Server {
    let files = Files::new();
    files.write("sets.wat", SETS);
    let config = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n[guests.sets]\npath = 'sets.wat'\n{more}\n\
         [[routes]]\nguests = ['sets']\nbackend = 'echo'\n"
    );
    Server::start_with(files, &config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_spelling_of_a_field_that_a_guest_sets_adds_or_removes_is_forwarded() {
    let server = setting("").await;
    let claims =
        "X_User: mallory\r\nX-User: mallory\r\nx_role: mallory\r\nX_Debug: mallory\r\nX_Other: 1\r\n";
    let answer = server.exchange(get("/", claims)).await;
    assert!(!answer.contains("mallory"), "{answer}");
    for expected in [r#"["x-user","alice"]"#, r#"["x-role","alice"]"#, r#"["x_other","1"]"#] {
        assert!(answer.contains(expected), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_remove_fields_set_by_the_gateway_or_guests_via_connection() {
    let server = setting("[request_id]\ntrust = true\n").await;
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, x-request-id, X-User, X_Private\r\n\
                   X-Request-ID: mine\r\nX_Request_ID: mine\r\nX-Private: 1\r\n\r\n";
    let answer = server.exchange(request).await;
    assert!(answer.contains(r#"["x-user","alice"]"#) && answer.contains(r#"["x-request-id","#), "{answer}");
    assert!(!answer.contains("mine") && !answer.contains("private"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_may_refuse_fields_with_underscores() {
    let server = Server::echo("underscores = 'reject'").await;
    let answer = server.exchange(get("/", "grpc_metadata: 1\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let answer = server.exchange(get("/", "grpc-metadata: 1\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_identity_fields_of_untrusted_clients_are_not_forwarded() {
    let claims = [
        "Forwarded: for=6.6.6.6;host=evil;proto=https",
        "X-Real-IP: 6.6.6.6",
        "X-Forwarded-Port: 6",
        "X-Forwarded-Prefix: /evil",
        "X_Forwarded_For: 6.6.6.6",
        "X-Forwarded_Proto: https",
        "X-Client-IP: 6.6.6.6",
        "X-Cluster-Client-IP: 6.6.6.6",
        "True-Client-IP: 6.6.6.6",
        "CF-Connecting-IP: 6.6.6.6",
        "X-Original-URL: /evil",
        "X-Rewrite-URL: /evil",
        "Client-Cert: :evil:",
        "X-Forwarded-Client-Cert: evil",
    ];
    let fields: String = claims.map(|claim| format!("{claim}\r\n")).concat();
    for listen in ["", "trusted_proxies = ['127.0.0.0/8']"] {
        let server = Server::echo(listen).await;
        let answer = server.exchange(get("/echo", &fields)).await;
        let body = answer.split_once("\r\n\r\n").expect("a head").1.to_ascii_lowercase();
        assert!(!body.contains("forwarded") && !body.contains("6.6") && !body.contains("evil"), "{answer}");
    }
}
