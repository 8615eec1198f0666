//! Checks which part of the input is passed on, however it is split.

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::super::activity::Activity;
use super::{Framing, REFUSED};
use crate::config::ClientLimits;

async fn framing(io: DuplexStream) -> Framing<DuplexStream> {
    let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    Framing::new(
        io,
        BytesMut::new(),
        Activity::new(Instant::now()),
        Arc::default(),
        Arc::default(),
        &ClientLimits::default(),
        permit,
    )
}

/// What is passed to hyper when `input` arrives in pieces of this size, until the end or an error.
async fn passed(input: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let (mut client, server) = tokio::io::duplex(piece);
    let mut framing = framing(server).await;
    let input = input.to_vec();
    let sender = tokio::spawn(async move {
        // Nothing is read after a rejected message.
        let _ = client.write_all(&input).await;
    });
    let mut all = Vec::new();
    let whole = framing.read_to_end(&mut all).await.is_ok();
    drop(framing);
    sender.await.unwrap();
    (all, whole)
}

const PIECES: [usize; 5] = [1, 2, 3, 7, 100_000];

#[tokio::test]
async fn unambiguous_messages_pass_unchanged() {
    let all = concat!(
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\ncontent-length:  5 \r\n\r\na\nb\r\n",
        "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\
         x-sum: 1\r\n\r\n",
        "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
    );
    for piece in PIECES {
        let (passed, whole) = passed(all.as_bytes(), piece).await;
        assert_eq!((String::from_utf8_lossy(&passed).as_ref(), whole), (all, true), "{piece}");
    }
}

#[tokio::test]
async fn empty_lines_before_a_request_are_dropped() {
    for piece in PIECES {
        let (passed, _) = passed(b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n", piece).await;
        assert_eq!(passed, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    }
}

#[tokio::test]
async fn an_ambiguous_head_is_refused() {
    let heads = [
        "GET / HTTP/1.1\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n\nx",
        "GET / HTTP/1.1\r\nHost: h\r\na: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\na: b\rc: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nabc\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
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
            assert_eq!(passed(head.as_bytes(), piece).await, (REFUSED.to_vec(), true), "{head:?}");
        }
    }
}

#[tokio::test]
async fn bytes_that_cannot_start_a_request_are_refused_at_once() {
    let client_hello = [0x16, 3, 1, 2, 0, 1, 0];
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for begun in [&client_hello[..], &settings, b" GET", b"\"", &[0xff]] {
        let (mut client, server) = tokio::io::duplex(100);
        let mut framing = framing(server).await;
        client.write_all(begun).await.unwrap();
        let mut all = Vec::new();
        // The connection stays open meanwhile.
        framing.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, REFUSED, "{begun:?}");
    }
}

#[tokio::test]
async fn ambiguous_chunks_abort_the_connection() {
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
    ];
    for body in bodies {
        for piece in PIECES {
            let (passed, whole) = passed(format!("{head}{body}").as_bytes(), piece).await;
            assert!(passed.starts_with(head.as_bytes()) && !whole, "{body:?}");
        }
    }
}

#[tokio::test]
async fn bytes_after_an_upgrade_request_wait_for_the_response() {
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    for (status, follows, expected) in [(101, "\n\n\n", "\n\n\n"), (200, "\n\n\n", "\0\r\n\r\n")] {
        let (mut client, server) = tokio::io::duplex(1000);
        let mut framing = framing(server).await;
        client.write_all(format!("{upgrade}{follows}").as_bytes()).await.unwrap();
        let mut head = vec![0; upgrade.len()];
        framing.read_exact(&mut head).await.unwrap();
        assert_eq!(head, upgrade.as_bytes());

        let answer = framing.upgrade();
        let mut rest = vec![0; expected.len()];
        let mut reading = std::pin::pin!(framing.read_exact(&mut rest));
        assert!(reading.as_mut().now_or_never().is_none());
        answer.answered(&http::Method::GET, http::StatusCode::from_u16(status).unwrap());
        reading.await.unwrap();
        assert_eq!(rest, expected.as_bytes());
    }
}
