//! Requests that intermediaries may parse differently from this server. None of them is handled.

use crate::support::Server;

/// Sends a request that must be refused, followed by one that must not be handled.
async fn refused(server: &Server, request: &str) {
    let answer = server.exchange(format!("{request}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request:?}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{request:?}: {answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.to_ascii_lowercase().contains("connection: close"), "{request:?}: {answer}");
    assert!(["", "bad request\n"].contains(&body), "{request:?}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_content_lengths_is_refused_and_the_connection_closed() {
    let server = Server::echo("").await;
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length: 5, 5\r\n\r\nhello",
        "Content-Length: 5 5\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: -5\r\n\r\nhello",
        "Content-Length: 0x5\r\n\r\nhello",
        "Content-Length: \r\n\r\nhello",
        "Content-Length: 18446744073709551616\r\n\r\nhello",
    ] {
        refused(&server, &format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfer_codings_other_than_chunked_are_refused() {
    let server = Server::echo("").await;
    for coding in [
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
    ] {
        refused(&server, &format!("POST / HTTP/1.1\r\nHost: h\r\n{coding}\r\n\r\n0\r\n\r\n")).await;
    }
    refused(&server, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_line_endings_and_continuations_are_refused() {
    let server = Server::echo("").await;
    for head in [
        "GET / HTTP/1.1\nHost: h\n\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
        "GET /\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: h\r\n\r\n",
        "G\0T / HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        refused(&server, head).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_must_have_exactly_one_valid_host() {
    let server = Server::echo("").await;
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
        "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        refused(&server, request).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_chunks_end_the_connection_and_nothing_after_them_is_read() {
    let server = Server::echo("").await;
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: y\r\n z\r\n\r\n",
    ] {
        refused(&server, &format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::echo("").await;
    let requests = concat!(
        "\r\nPOST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /",
        "POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nGET /\r\n0\r\nX-Sum: 1\r\n\r\n",
        "GET http://h:80/3 HTTP/1.1\r\nHost: H\r\n\r\n",
        "GET /4 HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: none\r\n\r\n",
        "GET /5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    let answer = server.exchange(requests).await;
    let mut rest = answer.as_str();
    for path in ["/1", "/2", "/3", "/4", "/5"] {
        let uri = format!(r#""uri":"{path}""#);
        let at = rest.find(&uri).unwrap_or_else(|| panic!("{path} in order: {answer}"));
        rest = &rest[at..];
    }
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 5, "{answer}");
    assert_eq!(answer.matches(r#""body":"GET /""#).count(), 2, "{answer}");
}
