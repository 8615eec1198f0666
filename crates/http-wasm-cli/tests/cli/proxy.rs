//! `--upstream URL`: what reaches the upstream, and what happens if it is unreachable.

use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, Empty, Full};
use serde_json::Value;

use crate::support::{Raw, Server, TIMEOUT, Upstream, echoed, exchange, http2, soon, values};

#[tokio::test]
async fn the_upstream_gets_the_request_with_the_clients_host_and_forwarding_fields() {
    let upstream = Upstream::bind().await;
    let proxy = Server::start(&["--upstream", &format!("http://{}/api/", upstream.addr())]);
    let served = async {
        let mut raw = upstream.accept().await;
        let request = raw.read_until("\r\n\r\nabc").await;
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        request.to_ascii_lowercase()
    };
    let request = "POST //a%20b?c HTTP/1.1\r\nHost: example:1\r\nX-Forwarded-For: 1.2.3.4\r\n\
        X-Forwarded-Proto: https\r\n\
                   Content-Length: 3\r\nConnection: close\r\n\r\nabc";
    let (received, _) = tokio::join!(served, exchange(proxy.addr, request));
    let (head, _) = received.split_once("\r\n\r\n").expect("a head");
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    let expected = [
        "post /api//a%20b?c http/1.1",
        "content-length: 3",
        "host: example:1",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: example:1",
        "x-forwarded-proto: http",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn hop_by_hop_fields_are_not_forwarded() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let served = async {
        let mut raw = upstream.accept().await;
        let head = raw.read_until("\r\n\r\n").await.to_ascii_lowercase();
        raw.send(
            "HTTP/1.1 200 OK\r\nConnection: x-theirs\r\nX-Theirs: 1\r\nKeep-Alive: 1\r\nX-Kept: 1\r\n\
            Content-Length: 0\r\n\r\n",
        )
        .await;
        head
    };
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 1\r\n\
                   Proxy-Authorization: secret\r\nTE: trailers, deflate\r\n\r\n";
    let (head, answer) = tokio::join!(served, exchange(proxy.addr, request));
    for name in ["connection:", "x-mine:", "keep-alive:", "proxy-authorization:", "transfer-encoding:"] {
        assert!(!head.contains(name), "{head}");
    }
    assert!(head.contains("\r\nte: trailers\r\n"), "{head}");
    assert!(answer.contains("x-kept: 1\r\n"), "{answer}");
    assert!(!answer.contains("x-theirs") && !answer.contains("keep-alive"), "{answer}");
}

#[tokio::test]
async fn trailers_pass_both_ways_between_http_2_and_http_1() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let served = async {
        let mut raw = upstream.accept().await;
        let request = raw.read_until("x-sum: 6\r\n\r\n").await;
        raw.send(
            "HTTP/1.1 200 OK\r\nTrailer: x-status\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
            x-status: 0\r\n\r\n",
        )
        .await;
        request
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("6"));
    let body = Full::new("abc".into()).with_trailers(async move { Some(Ok(trailers)) });
    let request = Request::post(format!("http://{}/", proxy.addr))
        .header("te", "trailers")
        .header("trailer", "x-sum")
        .body(body.boxed_unsync())
        .unwrap();
    let asked =
        async { http2(proxy.addr).await.send_request(request).await.unwrap().into_body().collect().await };
    let (request, answer) = soon(async { tokio::join!(served, asked) }).await;
    assert!(
        request.contains("transfer-encoding: chunked\r\n") && request.contains("te: trailers\r\n"),
        "{request}"
    );
    let answer = answer.unwrap();
    assert_eq!(answer.trailers().unwrap()["x-status"], "0");
    assert_eq!(answer.to_bytes(), "ok");
}

#[tokio::test]
async fn cookies_that_http_2_split_and_the_host_in_its_authority_arrive_as_http_1_fields() {
    let echo = Server::start(&[]);
    let proxy = Server::proxy_to(echo.addr, &[]);
    let uri = format!("http://{}/", proxy.addr);
    let request = Request::get(uri).header("cookie", "a=1").header("cookie", "b=2");
    let request = request.body(Empty::new().boxed_unsync()).unwrap();
    let response = soon(http2(proxy.addr).await.send_request(request)).await.unwrap();
    let received: Value =
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(received["version"], "HTTP/1.1");
    assert_eq!(values(&received, "cookie"), ["a=1; b=2"]);
    assert_eq!(values(&received, "host"), [proxy.addr.to_string()]);
}

#[tokio::test]
async fn the_body_of_a_get_arrives_even_without_a_length() {
    let echo = Server::start(&[]);
    let proxy = Server::proxy_to(echo.addr, &[]);
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n\
        0\r\n\r\n";
    assert_eq!(echoed(&exchange(proxy.addr, request).await)["body"], "abc");
}

#[tokio::test]
async fn head_requests_and_options_asterisk_are_forwarded() {
    let echo = Server::start(&[]);
    let url = format!("http://{}/api", echo.addr);
    let proxy = Server::start(&["--upstream", &url]);
    let answer = exchange(proxy.addr, "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("content-length: ") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = exchange(proxy.addr, "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert_eq!(echoed(&answer)["uri"], "*");
}

#[tokio::test]
async fn a_dead_upstream_is_a_502_without_details() {
    let dead = Upstream::bind().await.addr();
    let proxy = Server::proxy_to(dead, &[]);
    let answer = exchange(proxy.addr, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.ends_with("\r\n\r\nbad gateway\n"), "{answer}");
}

#[tokio::test]
async fn a_silent_upstream_is_a_504_without_details() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &["--upstream-timeout", "1s"]);
    let start = std::time::Instant::now();
    let answer = exchange(proxy.addr, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.ends_with("\r\n\r\ngateway timeout\n"), "{answer}");
    assert!(start.elapsed() < TIMEOUT);
}

#[tokio::test]
async fn a_slow_upload_does_not_count_against_the_upstream() {
    let echo = Server::start(&[]);
    let proxy = Server::proxy_to(echo.addr, &["--upstream-timeout", "3s"]);
    let mut raw = Raw::connect(proxy.addr).await;
    raw.send("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\na").await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    raw.send("b").await;
    assert_eq!(echoed(&raw.read_to_end().await)["body"], "ab");
}

#[tokio::test]
async fn a_truncated_response_is_not_forwarded_as_complete() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut served = upstream.accept().await;
    served.read_until("\r\n\r\n").await;
    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    // Only bytes that the client has seen are certain to have been sent when the error is noticed.
    let answer = client.read_until("abc\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(served);
    assert_eq!(client.read_to_end().await, "");
}
