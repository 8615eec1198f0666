//! Which requests are found in what a client sends, however it is split, and what the client gets.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::time::{Instant, sleep, timeout};

use super::Signals;
use super::connection::{Connection, Next};
use super::support::{echo, exchange, requests, served};
use crate::config::{AnyTime, ClientLimits, Size};

const PIECES: [usize; 5] = [1, 2, 3, 7, 100_000];

#[tokio::test]
async fn requests_are_found_wherever_their_bytes_are_split() {
    let all = concat!(
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\n\r\nPOST /a HTTP/1.1\r\nHost: h\r\ncontent-length:  5 \r\n\r\na\nb\r\n",
        "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\
         x-sum: 1\r\n\r\n",
        "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /last HTTP/1.0\r\n\r\nGET /never HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    let expected = [
        r#"GET / HTTP/1.1 "" 0"#,
        r#"POST /a HTTP/1.1 "a\nb\r\n" 0"#,
        r#"POST /b HTTP/1.1 "abc0123456789" 1"#,
        r#"POST /c HTTP/1.1 "" 0"#,
        r#"HEAD / HTTP/1.0 "" 0"#,
        r#"GET /last HTTP/1.0 "" 0"#,
    ];
    for piece in PIECES {
        let (received, sent) = exchange(all, piece).await;
        assert_eq!(received, expected, "{piece}");
        let response = "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\nok";
        assert!(sent.starts_with(&response.repeat(4)), "{sent}");
        assert!(
            sent.contains(
                "HTTP/1.0 200 OK\r\ndate: now\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nHTTP/1.0"
            ),
            "{sent}"
        );
        assert!(sent.ends_with("HTTP/1.0 200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\nok"), "{sent}");
    }
}

#[tokio::test]
async fn an_ambiguous_head_is_refused_and_nothing_after_it_is_read() {
    let heads = [
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\nx",
        "GET / HTTP/1.1\r\nHost: h\r\na: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\na: b\rc: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\na: b\0c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nabc\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n: abc\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\na(b: c\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        "GET / http/1.1\r\nHost: h\r\n\r\n",
        "GET /\r\nHost: h\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: h\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    for head in heads {
        for piece in PIECES {
            let input = format!("{head}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
            let (received, sent) = exchange(&input, piece).await;
            assert!(received.len() == 1 && received[0].starts_with("refused "), "{head:?}: {received:?}");
            assert!(sent.starts_with("HTTP/1.1 400 Bad Request\r\ndate: "), "{head:?}: {sent:?}");
            assert!(sent.contains("\r\nconnection: close\r\n"), "{head:?}: {sent:?}");
            assert_eq!(sent.matches("HTTP/1.").count(), 1, "{head:?}: {sent:?}");
        }
    }
}

#[tokio::test]
async fn bytes_that_cannot_start_a_request_are_refused_at_once() {
    let client_hello = [0x16, 3, 1, 2, 0, 1, 0];
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for begun in [&client_hello[..], &settings, b" GET", b"\"", &[0xff]] {
        let mut served = served(1000, ClientLimits::default());
        served.client.write_all(begun).await.unwrap();
        // The connection stays open meanwhile.
        let sent = served.read_until("bad request\n").await;
        assert!(sent.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{begun:?}: {sent}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_before_it_is_complete() {
    let limits = ClientLimits { max_header_size: Size(1000), ..ClientLimits::default() };
    for (sent, status) in [
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(1000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: h\r\na: {}\r\n\r\n", "x".repeat(970)), 431),
        (format!("GET / HTTP/1.1\r\nHost: h\r\na: {}\r\nconnection: close\r\n\r\n", "x".repeat(930)), 200),
    ] {
        let mut served = served(10_000, limits.clone());
        served.send(&sent).await;
        assert!(served.read_until("\r\n").await.starts_with(&format!("HTTP/1.1 {status} ")), "{sent}");
    }
    let target = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(70_000));
    let mut served = served(100_000, ClientLimits { max_header_size: Size(100_000), ..limits });
    served.send(&target).await;
    assert_eq!(served.read_until("\r\n").await, "HTTP/1.1 414 URI Too Long\r\n");
}

#[tokio::test]
async fn ambiguous_chunks_make_the_body_fail_and_end_the_connection() {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long = format!("1;{}\r\n", "x".repeat(300));
    let bodies = [
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n",
        "11112222333344445\r\nabc",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "0\r\nx: y\r\n z\r\n\r\n",
        &long,
        // It ends too early.
        "3\r\nab",
    ];
    for body in bodies {
        for piece in PIECES {
            let (received, sent) = exchange(&format!("{head}{body}"), piece).await;
            assert_eq!(received, ["POST / failed"], "{body:?}");
            assert!(sent.contains("\r\nconnection: close\r\n"), "{body:?}: {sent:?}");
            assert_eq!(sent.matches("HTTP/1.").count(), 1, "{body:?}: {sent:?}");
        }
    }
}

#[tokio::test]
async fn bytes_after_an_upgrade_request_belong_to_what_the_response_says() {
    let upgrade =
        |path| format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let mut switched = served(1000, ClientLimits::default());
    switched.send(&format!("{}\n\n\n\n\n", upgrade("/tunnel"))).await;
    let sent = switched.read_to_end().await;
    assert!(
        sent.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && sent.ends_with("\r\n\r\n\n\n\n\n\n"),
        "{sent:?}"
    );
    switched.task.await.unwrap().unwrap();

    let mut declined = served(1000, ClientLimits::default());
    declined.send(&format!("{}GET /next HTTP/1.0\r\n\r\n", upgrade("/"))).await;
    assert_eq!(declined.read_to_end().await.matches("200 OK").count(), 2);
    assert_eq!(declined.received().len(), 2);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_only_if_the_body_is_wanted() {
    let head = |path| {
        format!("POST {path} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    };
    let mut wanted = served(1000, ClientLimits::default());
    wanted.send(&head("/")).await;
    assert_eq!(wanted.read_until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    wanted.send("abc").await;
    assert!(wanted.read_until("ok").await.starts_with("HTTP/1.1 200 OK\r\n"));
    // The body came without being asked for.
    wanted.send(&format!("{}abc", head("/"))).await;
    assert!(wanted.read_until("ok").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(wanted.received().len(), 2);
    // Only some of it came.
    wanted.send(&format!("{}a", head("/"))).await;
    sleep(Duration::from_millis(20)).await;
    wanted.send("bc").await;
    assert!(wanted.read_until("ok").await.starts_with("HTTP/1.1 200 OK\r\n"));

    let mut unwanted = served(1000, ClientLimits::default());
    unwanted.send(&head("/unread")).await;
    let sent = unwanted.read_until("unread").await;
    assert!(sent.starts_with("HTTP/1.1 200 OK\r\n") && sent.contains("\r\nconnection: close\r\n"), "{sent}");
}

#[tokio::test]
async fn a_response_can_be_sent_while_the_request_arrives() {
    let mut served = served(1000, ClientLimits::default());
    served.send("POST /duplex HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let head = served.read_until("\r\n\r\n").await;
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    for _ in 0..3 {
        served.send("3\r\nabc\r\n").await;
        assert_eq!(served.read_until("abc\r\n").await, "3\r\nabc\r\n");
    }
    served.send("0\r\n\r\n").await;
    assert_eq!(served.read_until("0\r\n\r\n").await, "0\r\n\r\n");
    served.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    served.read_until("\r\n\r\nok").await;
}

#[tokio::test]
async fn responses_are_framed_by_version_method_status_and_body() {
    let exchange = async |request: &str| exchange(request, 1000).await.1;
    let chunked =
        exchange("GET /trailers HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: close\r\n\r\n").await;
    assert!(chunked.contains("\r\ntransfer-encoding: chunked\r\n"), "{chunked}");
    assert!(
        chunked.ends_with("\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"),
        "only announced trailers are sent: {chunked}"
    );
    let without = exchange("GET /trailers HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(without.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{without}");
    let closed = exchange("GET /trailers HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert!(closed.ends_with("\r\n\r\nabc"), "{closed}");
    assert!(!closed.contains("transfer-encoding") && !closed.contains("keep-alive"), "{closed}");
    let empty = exchange("GET /empty HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(empty.ends_with("content-length: 0\r\n\r\n"), "{empty}");
    let none = exchange("GET /204 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(none.starts_with("HTTP/1.1 204 No Content\r\n") && !none.contains("content-length"), "{none}");
    let head = exchange("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(head.contains("content-length: 2\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn a_body_that_fails_ends_the_connection_after_what_precedes_the_failure() {
    let (_, sent) =
        exchange("GET /broken HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 1000).await;
    assert!(sent.starts_with("HTTP/1.1 200 OK\r\n") && sent.ends_with("\r\n\r\n3\r\nabc\r\n"), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cancelled_when_its_client_has_been_gone_for_the_half_close_timeout() {
    for (timeout, elapsed, answered) in [(0, 0, false), (10, 10, false), (1000, 100, true)] {
        let limits = ClientLimits {
            half_close_timeout: AnyTime(Duration::from_secs(timeout)),
            ..ClientLimits::default()
        };
        let mut served = served(1000, limits);
        let start = Instant::now();
        served.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await;
        served.client.shutdown().await.unwrap();
        let sent = served.read_to_end().await;
        assert_eq!((start.elapsed().as_secs(), sent.ends_with("slow")), (elapsed, answered), "{sent}");
        assert_eq!(served.task.await.unwrap().is_ok(), answered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_if_the_rest_of_an_unread_body_does_not_arrive() {
    let mut served = served(1000, ClientLimits::default());
    let start = Instant::now();
    served.send("POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc").await;
    let sent = timeout(Duration::from_secs(60), served.read_to_end()).await.expect("the connection ends");
    assert!(sent.ends_with("unread"), "{sent}");
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_connection_that_is_told_to_close_ends_after_the_current_request() {
    let mut idle = served(1000, ClientLimits::default());
    idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let first = idle.read_until("\r\n\r\nok").await;
    assert!(!first.contains("connection:"), "{first}");
    idle.signals.close();
    idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let last = idle.read_to_end().await;
    assert!(last.contains("\r\nconnection: close\r\n") && last.ends_with("ok"), "{last}");
    idle.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_waits_for_a_request_shares_no_buffer_with_the_previous_one() {
    let (mut client, server) = duplex(1000);
    let (requests, signals) = (requests(echo(), ClientLimits::default()), Signals::default());
    let mut connection = Connection::new(server, BytesMut::new(), &requests, &signals);
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let Ok(Next::Head(head)) = poll_fn(|cx| connection.poll_head(cx)).await else { panic!("it is complete") };
    assert!(poll_fn(|cx| Poll::Ready(connection.poll_head(cx).is_pending())).await);
    assert!(head.is_unique());
}
