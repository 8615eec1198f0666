//! Framing of responses: contradictory lengths and chunks, and statuses without content.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Empty;

use super::{AfterResponse, PREFIXES, RawResponse, Upstream, http1, http2, ok, send, whole};
use crate::support::{Server, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_content_length_beside_chunked_cannot_split_a_response() {
    let evil = ok("Content-Length: 4", "evil");
    let body = format!("{:x}\r\n0{evil}\r\n0\r\n\r\n", 1 + evil.len());
    let upstream = Upstream::start(vec![
        ("/first", ok("Content-Length: 1\r\nTransfer-Encoding: chunked", &body), AfterResponse::Keep),
        ("/second", ok("Content-Length: 4", "good"), AfterResponse::Close),
    ])
    .await;
    let server = upstream.gateway().await;
    for guests in PREFIXES {
        let before = upstream.connections();
        let mut raw = server.connect().await;
        raw.send(format!("GET {guests}/first HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        raw.read_until("evil").await;
        raw.send(format!("GET {guests}/second HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await;
        let rest = raw.read_to_end().await;
        let second = rest.find("HTTP/1.1").map(|at| RawResponse::parse(&rest[at..]));
        assert_eq!(second.and_then(|second| second.body()).as_deref(), Some("good"), "{rest}");
        // Another connection answered it.
        assert_eq!(upstream.connections() - before, 2);

        let got = http1(&server, "GET", &format!("{guests}/first")).await;
        assert_eq!(got.body(), Some(format!("0{evil}")));
        let mut sender = http2(&server).await;
        let response = send(&mut sender, Method::GET, &format!("{guests}/first")).await.expect("a response");
        let (_, headers, body) = whole(response).await;
        let length = headers.get("content-length").map(|length| length.to_str().unwrap().to_owned());
        assert!(length.is_none_or(|length| length == (1 + evil.len()).to_string()), "{headers:?}");
        assert_eq!(body.expect("a whole body").to_bytes(), format!("0{evil}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_response_is_a_502_without_any_of_its_bytes() {
    for fields in [
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nContent-Length: 6",
        "Content-Length: 1\r\nContent-Length: 6",
        "Content-Length: 1, 6",
        "Content-Length: +6",
        "Content-Length: x",
        "Content-Length:",
        "Content-Length: 6\nX: y",
        "X: y\r\n z\r\nContent-Length: 6",
        "X : y\r\nContent-Length: 6",
        "X: \0\r\nContent-Length: 6",
    ] {
        let upstream = Upstream::start(vec![("/", ok(fields, "secret"), AfterResponse::Close)]).await;
        let server = upstream.gateway().await;
        for guests in PREFIXES {
            for method in ["GET", "HEAD"] {
                let got = http1(&server, method, &format!("{guests}/")).await;
                assert_eq!(got.status, 502, "{fields:?}: {got:?}");
                assert!(!format!("{got:?}").contains("secret"), "{fields:?}: {got:?}");
            }
            let response = send(&mut http2(&server).await, Method::GET, &format!("{guests}/")).await;
            assert_eq!(response.expect("a response").status(), 502, "{fields:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_content_length_is_sent_once() {
    for fields in ["Content-Length: 2, 2", "Content-Length: 2\r\nContent-Length: 2"] {
        let upstream = Upstream::start(vec![("/", ok(fields, "ok"), AfterResponse::Keep)]).await;
        let server = upstream.gateway().await;
        for guests in PREFIXES {
            let got = http1(&server, "GET", &format!("{guests}/")).await;
            assert_eq!((got.length(), got.body().as_deref()), (Some(2), Some("ok")), "{got:?}");
            let response = send(&mut http2(&server).await, Method::GET, &format!("{guests}/")).await;
            assert_eq!(response.expect("a response").headers().get_all("content-length").iter().count(), 1);
        }
        assert_eq!(upstream.connections(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_after_a_response_do_not_answer_another_request() {
    let surplus = ok("Content-Length: 4", "evil");
    let upstream = Upstream::start(vec![
        ("/first", ok("Content-Length: 2", &format!("ok{surplus}")), AfterResponse::Keep),
        (
            "/chunked",
            ok("Transfer-Encoding: chunked", &format!("2\r\nok\r\n0\r\n\r\n{surplus}")),
            AfterResponse::Keep,
        ),
        ("/empty", format!("HTTP/1.1 204 No Content\r\n\r\n{surplus}"), AfterResponse::Keep),
        ("/second", ok("Content-Length: 4", "good"), AfterResponse::Close),
    ])
    .await;
    let server = upstream.gateway().await;
    for guests in PREFIXES {
        for first in ["/first", "/chunked", "/empty"] {
            let before = upstream.connections();
            http1(&server, "GET", &format!("{guests}{first}")).await;
            let second = http1(&server, "GET", &format!("{guests}/second")).await;
            assert_eq!(second.body().as_deref(), Some("good"), "behind {first}: {second:?}");
            assert_eq!(upstream.connections() - before, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_request_has_at_most_one_content_length() {
    let server = Server::echo("").await;
    let mut sender = http2(&server).await;
    for (lengths, status) in [(&["0"][..], 200), (&["0", "0"], 400), (&[""], 400)] {
        let mut request = Request::get("http://h/").body(Empty::<Bytes>::new()).expect("a request");
        for length in lengths {
            request.headers_mut().append("content-length", length.parse().expect("a value"));
        }
        let response = soon(sender.send_request(request)).await.expect("a response");
        assert_eq!(response.status(), status, "{lengths:?}");
    }
    // h2 resets these streams.
    for lengths in [&["0", "1"][..], &["+0"], &["5"]] {
        let mut request = Request::get("http://h/").body(Empty::<Bytes>::new()).expect("a request");
        for length in lengths {
            request.headers_mut().append("content-length", length.parse().expect("a value"));
        }
        assert!(soon(sender.send_request(request)).await.is_err(), "{lengths:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_204_has_no_content_length_and_responses_to_head_and_304_keep_theirs() {
    let answer = |status: &str, length: &str| format!("HTTP/1.1 {status} X\r\n{length}\r\n\r\n");
    let upstream = Upstream::start(vec![
        ("/204", answer("204", "Content-Length: 7"), AfterResponse::Keep),
        ("/205", answer("205", "Content-Length: 3\r\nContent-Type: text/plain") + "abc", AfterResponse::Keep),
        ("/304", answer("304", "Content-Length: 7"), AfterResponse::Keep),
        ("/304/none", answer("304", "X: y"), AfterResponse::Keep),
        ("/200", answer("200", "Content-Length: 7"), AfterResponse::Keep),
        ("/200/none", answer("200", "Transfer-Encoding: chunked"), AfterResponse::Keep),
    ])
    .await;
    let server = upstream.gateway().await;
    for guests in PREFIXES {
        for (method, path, allowed) in [
            ("GET", "/204", [None, None]),
            ("HEAD", "/204", [None, None]),
            ("GET", "/205", [None, Some(0)]),
            ("GET", "/304", [Some(7), Some(7)]),
            ("HEAD", "/304", [Some(7), Some(7)]),
            ("GET", "/304/none", [None, None]),
            ("HEAD", "/200", [Some(7), Some(7)]),
            ("HEAD", "/200/none", [None, None]),
        ] {
            let path = format!("{guests}{path}");
            let got = http1(&server, method, &path).await;
            assert!(allowed.contains(&got.length()), "{method} {path}: {got:?}");
            assert_eq!(got.rest, "", "{method} {path}");
            assert!(got.fields("transfer-encoding").is_empty(), "{method} {path}: {got:?}");

            let method = method.parse().expect("a method");
            let response = send(&mut http2(&server).await, method, &path).await.expect("a response");
            let (_, headers, body) = whole(response).await;
            let length =
                headers.get("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
            assert!(allowed.contains(&length), "{path}: {headers:?}");
            assert!(body.expect("a whole body").to_bytes().is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_reused_after_a_304_with_a_content_length() {
    let answer = "HTTP/1.1 304 X\r\nContent-Length: 7\r\n\r\n".to_owned();
    let upstream = Upstream::start(vec![("/", answer, AfterResponse::Keep)]).await;
    let server = upstream.gateway().await;
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = server
        .exchange(format!("{get}{get}{}", get.replace("h\r\n\r\n", "h\r\nConnection: close\r\n\r\n")))
        .await;
    assert_eq!(answer.matches("HTTP/1.1 304").count(), 3, "{answer}");
    assert_eq!(answer.matches("content-length: 7").count(), 3, "{answer}");
}

/// A response whose body is the request's head.
fn show() -> String {
    ok("Connection: close", "{HEAD}")
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_requests_of_methods_that_expect_a_body_have_content_length_zero() {
    let upstream = Upstream::start(vec![("/", show(), AfterResponse::Close)]).await;
    let server = upstream.gateway().await;
    for guests in PREFIXES {
        for (method, declared) in
            [("POST", 1), ("PUT", 1), ("PATCH", 1), ("GET", 0), ("HEAD", 0), ("DELETE", 0), ("OPTIONS", 0)]
        {
            let path = format!("{guests}/");
            let expected = if method == "HEAD" { 0 } else { declared };
            let got = http1(&server, method, &path).await;
            assert_eq!(got.rest.matches("content-length: 0\r\n").count(), expected, "{method}: {got:?}");
            assert!(!got.rest.contains("transfer-encoding"), "{method}: {got:?}");

            // hyper's client sends a length for it.
            if method == "OPTIONS" {
                continue;
            }
            let response = send(&mut http2(&server).await, method.parse().unwrap(), &path).await;
            let (_, _, body) = whole(response.expect("a response")).await;
            let shown = String::from_utf8_lossy(&body.expect("a whole body").to_bytes()).into_owned();
            assert_eq!(shown.matches("content-length: 0\r\n").count(), expected, "{method}: {shown}");
        }
    }
}
