//! `--upstream echo` and `--upstream hello`, and the server in front of them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use serde_json::{Value, json};

use crate::support::{Raw, Server, Upstream, echoed, exchange, http1, http2, soon};

#[tokio::test]
async fn echo_answers_the_request_as_json() {
    let server = Server::start(&[]);
    let request = "POST /a/%20b?c=d HTTP/1.1\r\nHost: example\r\nX-Twice: 1\r\nX-Twice: 2\r\nConnection: close\r\n\
                   Content-Length: 5\r\n\r\nh\u{e4}\"\n";
    let answer = exchange(server.addr, request).await;
    assert!(answer.contains("\r\ncontent-type: application/json\r\n"), "{answer}");
    assert_eq!(
        echoed(&answer),
        json!({
            "method": "POST", "uri": "/a/%20b?c=d", "version": "HTTP/1.1",
            "headers": [
                ["host", "example"], ["x-twice", "1"], ["x-twice", "2"], ["connection", "close"],
                ["content-length", "5"],
            ],
            "body": "h\u{e4}\"\n",
            "trailers": [],
        })
    );
}

#[tokio::test]
async fn echo_shows_bodies_that_are_not_text_in_base64() {
    let server = Server::start(&[]);
    let request = b"PUT / HTTP/1.1\r\nHost: h\r\nX-Bytes: \xff\r\nConnection: close\r\n\
        Content-Length: 2\r\n\r\n\xff\xfe";
    let echo = echoed(&exchange(server.addr, request).await);
    assert_eq!(echo["headers"][1], json!(["x-bytes", { "base64": "/w==" }]));
    assert_eq!(echo["body_base64"], "//4=");
    assert_eq!(echo["body"], Value::Null);
}

#[tokio::test]
async fn echo_shows_the_trailers_of_a_chunked_request() {
    let server = Server::start(&[]);
    let request = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\
        \r\n\
                   3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n";
    let echo = echoed(&exchange(server.addr, request).await);
    assert_eq!(echo["body"], "abc");
    assert_eq!(echo["trailers"], json!([["x-sum", "6"]]));
}

#[tokio::test]
async fn echo_refuses_a_body_larger_than_it_holds() {
    let server = Server::start(&[]);
    let request = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 67108865\r\n\r\n";
    let answer = exchange(server.addr, request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn echo_shows_the_asterisk_of_an_options_request() {
    let server = Server::start(&[]);
    let echo =
        echoed(&exchange(server.addr, "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await);
    assert_eq!(echo["uri"], "*");
}

#[tokio::test]
async fn http_1_and_http_2_are_served_on_one_port_with_the_same_echo() {
    let server = Server::start(&[]);
    let trailers = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("6"));
        async move { Some(Ok(trailers)) }
    };
    let uri = format!("http://{}/a?b", server.addr);
    let request = Request::put(&uri)
        .header("x-a", "1")
        .body(Full::new("abc".into()).with_trailers(trailers()).boxed_unsync());
    let response = soon(http2(server.addr).await.send_request(request.unwrap())).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let echo: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        echo,
        json!({
            "method": "PUT", "uri": "/a?b", "version": "HTTP/2.0",
            "headers": [["host", server.addr.to_string()], ["x-a", "1"], ["content-length", "3"]],
            "body": "abc",
            "trailers": [["x-sum", "6"]],
        })
    );

    let request = Request::get("/").header("host", "h").body(Empty::new().boxed_unsync()).unwrap();
    let response = soon(http1(server.addr).await.send_request(request)).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["version"], "HTTP/1.1");
}

#[tokio::test]
async fn hello_answers_hello_world() {
    let server = Server::start(&["--upstream", "hello"]);
    let answer = exchange(server.addr, "GET /any HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello world"), "{answer}");
}

#[tokio::test]
async fn a_response_to_head_has_the_length_but_no_body_in_either_version() {
    let server = Server::start(&["--upstream", "hello"]);
    let answer = exchange(server.addr, "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("content-length: 11\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");

    let uri = format!("http://{}/", server.addr);
    let request = Request::head(uri).body(Empty::new().boxed_unsync()).unwrap();
    let response = soon(http2(server.addr).await.send_request(request)).await.unwrap();
    assert_eq!(response.headers()["content-length"], "11");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), Bytes::new());
}

#[tokio::test]
async fn connect_is_refused() {
    let server = Server::start(&[]);
    let answer =
        exchange(server.addr, "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");

    let request = Request::connect("h:80").body(Empty::new().boxed_unsync()).unwrap();
    let response = soon(http2(server.addr).await.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn requests_over_the_concurrency_limit_are_rejected_until_one_completes() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &["--max-requests", "1"]);
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let mut first = Raw::connect(proxy.addr).await;
    first.send(request).await;
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;

    let second = exchange(proxy.addr, request).await;
    assert!(second.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{second}");
    assert!(second.contains("\r\nretry-after: 1\r\n"), "{second}");

    server.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
    assert!(first.read_to_end().await.starts_with("HTTP/1.1 204"));
    let mut third = Raw::connect(proxy.addr).await;
    third.send(request).await;
    let mut server = upstream.accept().await;
    // A response before the request would look like a broken connection.
    server.read_until("\r\n\r\n").await;
    server.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
    assert!(third.read_to_end().await.starts_with("HTTP/1.1 204"));
}

#[tokio::test]
async fn flags_limit_connections_body_size_and_header_time() {
    let args = ["--max-connections", "1", "--max-request-body", "1KiB", "--header-timeout", "4s"];
    let server = Server::start(&args);
    let post = |bytes: usize| format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {bytes}\r\n\r\n");
    let answer = exchange(server.addr, post(1025)).await;
    assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{answer}");
    // The second connection isn't accepted until the first has timed out.
    let (mut first, mut second) = (Raw::connect(server.addr).await, Raw::connect(server.addr).await);
    first.send("GET / HTTP/1.1\r\n").await;
    second.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(first.read_to_end().await.starts_with("HTTP/1.1 408 "));
    second.read_until("HTTP/1.1 200 OK\r\n").await;
}
