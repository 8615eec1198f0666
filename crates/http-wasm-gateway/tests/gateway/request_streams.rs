//! A guest that rewrites requests and responses while they are sent, between clients and upstreams of both protocols.

use std::future::poll_fn;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::files::Files;
use crate::support::{Raw, Server, TIMEOUT, soon};

/// Replaces each digit of requests and responses by "#". It fails at a "!", and responds itself to a request with a
/// "?".
pub(crate) const REDACTS: &str = r#"(module
  (@custom "http-wasm-stream" "")
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "set_status_code" (func $set_status_code (param i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
  (memory (export "memory") 2)
  (func $start (drop (call $enable_features (i32.const 2))))
  (start $start)
  ;; Whether there is a "?".
  (func $redact (param $at i32) (result i32) (local $asked i32) (local $byte i32)
    (block $done (loop $next
      (br_if $done (i32.eqz (local.get $at)))
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (local.set $byte (i32.load8_u (local.get $at)))
      (if (i32.eq (local.get $byte) (i32.const 0x21)) (then unreachable))
      (if (i32.eq (local.get $byte) (i32.const 0x3f)) (then (local.set $asked (i32.const 1))))
      (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 0x30)) (i32.const 10))
        (then (i32.store8 (local.get $at) (i32.const 0x23))))
      (br $next)))
    (local.get $asked))
  (func $copy (param $kind i32) (result i32) (local $read i64)
    (loop $next
      (local.set $read (call $read_body (local.get $kind) (i32.const 0) (i32.const 65536)))
      (if (call $redact (i32.wrap_i64 (local.get $read))) (then (return (i32.const 1))))
      (call $write_body (local.get $kind) (i32.const 0) (i32.wrap_i64 (local.get $read)))
      (br_if $next (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))))
    (i32.const 0))
  (func (export "handle_request") (result i64)
    (if (call $copy (i32.const 0)) (then (call $set_status_code (i32.const 403)) (return (i64.const 0))))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32) (drop (call $copy (i32.const 1)))))"#;

async fn serve(settings: &str, http: &str, upstream: &TcpListener) -> Server {
    let files = Files::new();
    files.write("guest.wat", REDACTS);
    let config = format!(
        "listen = ['127.0.0.1:0']\n[guests.redact]\npath = 'guest.wat'\n{settings}\n\
         [upstreams.u]\naddresses = ['http://{}']\nhttp = '{http}'\n\
         [[routes]]\nguests = ['redact']\nupstream = 'u'\n",
        upstream.local_addr().expect("it is bound")
    );
    Server::start_with(files, &config).await
}

pub(crate) async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("there are ports")
}

pub(crate) async fn accept(upstream: &TcpListener) -> Raw {
    Raw(soon(upstream.accept()).await.expect("it connects").0)
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

const POST: &str = "POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n";

/// A client that has begun to send a request.
async fn begin(server: &Server, first: &str) -> Raw {
    let mut client = server.connect().await;
    client.send(format!("{POST}{}", chunk(first))).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_each_piece_before_the_next_one_is_sent() {
    let listener = bind().await;
    let server = serve("stream = true", "1", &listener).await;
    let mut client = begin(&server, "42 one").await;
    let mut upstream = accept(&listener).await;
    let head = upstream.read_until("## one\r\n").await.to_ascii_lowercase();
    assert!(head.contains("transfer-encoding: chunked") && head.contains("trailer: x-sum"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    client.send(chunk("7 two")).await;
    upstream.read_until("# two\r\n").await;
    client.send("0\r\nx-sum: 7\r\n\r\n").await;
    assert!(upstream.read_until("x-sum").await.starts_with("0\r\n"));
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanswer1").await;
    client.read_until("answer#").await;
    // Both connections are as good as new.
    client.send(format!("{POST}{}0\r\n\r\n", chunk("3"))).await;
    upstream.read_until("#\r\n0\r\n\r\n").await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.read_until("HTTP/1.1 200 OK").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_piece_passes_over_http_2_too_and_trailers_after_them() {
    let listener = bind().await;
    let server = serve("stream = 'both'", "2", &listener).await;
    let stream = TcpStream::connect(server.addr).await.expect("the server accepts");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let request = Request::post("http://h/").header("trailer", "x-sum").body(()).expect("it is valid");
    let (response, mut upload) = client.send_request(request, false).expect("it is sent");
    upload.send_data("42 one".into(), false).expect("it is sent");

    let stream = soon(listener.accept()).await.expect("it connects").0;
    let mut upstream = h2::server::handshake(stream).await.expect("it speaks HTTP/2");
    let (request, mut respond) = soon(upstream.accept()).await.expect("a request").expect("a request");
    tokio::spawn(async move { while upstream.accept().await.is_some() {} });
    let mut body = request.into_body();
    let mut next = async || {
        let data = soon(body.data()).await?.expect("it goes on");
        body.flow_control().release_capacity(data.len()).expect("it was received");
        Some(data)
    };
    assert_eq!(next().await.expect("data"), "## one");
    upload.send_data("7 two".into(), false).expect("it is sent");
    assert_eq!(next().await.expect("data"), "# two");
    let sums =
        http::HeaderMap::from_iter([("x-sum".parse().expect("a name"), "7".parse().expect("a value"))]);
    upload.send_trailers(sums).expect("they are sent");
    assert!(next().await.is_none());
    let trailers = soon(body.trailers()).await.expect("it ends well").expect("trailers");
    assert_eq!(trailers["x-sum"], "7");
    let mut answer = respond.send_response(Response::new(()), false).expect("it is sent");
    answer.send_data("answer1".into(), true).expect("it is sent");
    let mut body = soon(response).await.expect("a response").into_body();
    assert_eq!(soon(body.data()).await.expect("data").expect("data"), "answer#");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_aborted_if_its_guest_responds_in_the_middle() {
    for settings in ["stream = 'request'", "stream = 'request'\non_failure = 'open'"] {
        for (end, status) in [("stop?", "403"), ("fail!", "500")] {
            let listener = bind().await;
            let server = serve(settings, "1", &listener).await;
            let mut client = begin(&server, "42").await;
            let mut upstream = accept(&listener).await;
            upstream.read_until("##\r\n").await;
            client.send(chunk(end)).await;
            let answer = client.read_until("\r\n\r\n").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert_eq!(upstream.read_to_end().await, "", "there is no last chunk");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_reset_over_http_2_if_its_guest_responds_in_the_middle() {
    let listener = bind().await;
    let server = serve("stream = 'request'", "2", &listener).await;
    let mut client = begin(&server, "42").await;
    let stream = soon(listener.accept()).await.expect("it connects").0;
    let mut upstream = h2::server::handshake(stream).await.expect("it speaks HTTP/2");
    let (request, _respond) = soon(upstream.accept()).await.expect("a request").expect("a request");
    tokio::spawn(async move { while upstream.accept().await.is_some() {} });
    let mut body = request.into_body();
    assert_eq!(soon(body.data()).await.expect("data").expect("data"), "##");
    client.send(chunk("stop?")).await;
    assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 403 "));
    let end = soon(body.data()).await.expect("an end").expect_err("it doesn't end well");
    assert!(end.is_reset(), "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_aborted_if_the_client_hangs_up_in_the_middle() {
    let listener = bind().await;
    let server = serve("stream = 'request'", "1", &listener).await;
    let client = begin(&server, "42").await;
    let mut upstream = accept(&listener).await;
    upstream.read_until("##\r\n").await;
    drop(client);
    assert_eq!(upstream.read_to_end().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_answers_early_gets_the_rest_as_long_as_it_reads() {
    let listener = bind().await;
    let server = serve("stream = 'both'", "1", &listener).await;
    let mut client = begin(&server, "1").await;
    let mut upstream = accept(&listener).await;
    upstream.read_until("#\r\n").await;
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    upstream.send(chunk("early 1")).await;
    for _ in 0..3 {
        client.send(chunk("22")).await;
        upstream.read_until("##\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    upstream.read_until("0\r\n\r\n").await;
    client.read_until("early #").await;
    upstream.send(format!("{}0\r\n\r\n", chunk("late 2"))).await;
    client.read_until("late #").await;
}

/// A request to an upstream that speaks HTTP/2, and its stream there.
async fn accept_http2(upstream: &TcpListener) -> (h2::RecvStream, SendResponse<Bytes>) {
    let stream = soon(upstream.accept()).await.expect("it connects").0;
    let mut upstream = h2::server::handshake(stream).await.expect("it speaks HTTP/2");
    let (request, respond) = soon(upstream.accept()).await.expect("a request").expect("a request");
    tokio::spawn(async move { while upstream.accept().await.is_some() {} });
    (request.into_body(), respond)
}

/// The next piece. The end may follow with an empty one.
async fn next_data(body: &mut h2::RecvStream) -> Option<Bytes> {
    loop {
        let data = soon(body.data()).await?.expect("it goes on");
        body.flow_control().release_capacity(data.len()).expect("it was received");
        if !data.is_empty() {
            return Some(data);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_upstream_that_answers_early_without_a_body_gets_the_rest_as_long_as_it_reads() {
    for status in [200, 204] {
        let listener = bind().await;
        let server = serve("stream = 'request'", "2", &listener).await;
        let mut client = begin(&server, "1").await;
        let (mut body, mut respond) = accept_http2(&listener).await;
        assert_eq!(next_data(&mut body).await.expect("data"), "#");
        let response = Response::builder().status(status).body(()).expect("it is valid");
        respond.send_response(response, true).expect("it is sent");
        for _ in 0..3 {
            client.send(chunk("22")).await;
            assert_eq!(next_data(&mut body).await.expect("data"), "##");
        }
        client.send("0\r\n\r\n").await;
        assert!(next_data(&mut body).await.is_none());
        client.read_until(&format!("HTTP/1.1 {status} ")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_upstream_that_answers_without_a_body_and_stops_reading_ends_the_request() {
    // It resets the stream, or reads nothing more.
    for resets in [true, false] {
        let listener = bind().await;
        let server = serve("stream = 'request'\nlimits = { stream_stall = '300ms' }", "2", &listener).await;
        let mut client = begin(&server, "1").await;
        let (mut body, mut respond) = accept_http2(&listener).await;
        assert_eq!(next_data(&mut body).await.expect("data"), "#");
        let response = Response::builder().status(413).body(()).expect("it is valid");
        respond.send_response(response, true).expect("it is sent");
        // The client's request doesn't end.
        if resets {
            // h2 resets the stream with NO_ERROR.
            drop((body, respond));
            client.read_until("HTTP/1.1 413 ").await;
        } else {
            // This is more than fits into the window.
            let piece = chunk(&"x".repeat(60_000));
            for _ in 0..4 {
                client.send(&piece).await;
            }
            client.read_until("HTTP/1.1 413 ").await;
            drop(body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_answers_and_closes_ends_the_request_for_the_guest() {
    let listener = bind().await;
    let server = serve("stream = 'request'", "1", &listener).await;
    let client = begin(&server, "1").await;
    let mut upstream = accept(&listener).await;
    upstream.read_until("#\r\n").await;
    upstream.send("HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge").await;
    drop(upstream);
    // The client continues, and finally gets the response.
    let (mut receiving, mut sending) = client.0.into_split();
    let upload = tokio::spawn(async move {
        let piece = chunk(&"x".repeat(60_000));
        while sending.write_all(piece.as_bytes()).await.is_ok() {}
    });
    let mut received = Vec::new();
    while !received.ends_with(b"large") {
        assert!(soon(receiving.read_buf(&mut received)).await.expect("the gateway answers") > 0);
    }
    assert!(received.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&received));
    drop(receiving);
    upload.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_answers_and_closes_ends_the_request_even_if_the_client_sends_nothing() {
    for response in [
        "413 Too Large\r\nContent-Length: 5\r\n\r\nlarge",
        "413 Too Large\r\nContent-Length: 0\r\n\r\n",
        "413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlarge\r\n0\r\n\r\n",
        "413 Too Large\r\nConnection: close\r\n\r\nlarge",
    ] {
        let listener = bind().await;
        let server = serve("stream = 'request'", "1", &listener).await;
        let mut client = begin(&server, "1").await;
        let mut upstream = accept(&listener).await;
        upstream.read_until("#\r\n").await;
        upstream.send(format!("HTTP/1.1 {response}")).await;
        drop(upstream);
        client.read_until("HTTP/1.1 413 ").await;
    }
}

/// The number of digits that the guest replaced.
fn count(data: &[u8]) -> usize {
    data.iter().filter(|&&byte| byte == b'#').count()
}

/// Sends a request with a body of `pieces` times 64 KiB, and counts what comes back: the "#", and all.
async fn exchange(server: &Server, pieces: usize) -> (usize, Vec<u8>, bool) {
    let (mut receiving, mut sending) = server.connect().await.0.into_split();
    let upload = tokio::spawn(async move {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        let piece = format!("10000\r\n{}\n\r\n", "7".repeat(65_535));
        let _ = sending.write_all(head.as_bytes()).await;
        for _ in 0..pieces {
            if sending.write_all(piece.as_bytes()).await.is_err() {
                return sending;
            }
        }
        let _ = sending.write_all(b"0\r\n\r\n").await;
        // To drop it would half-close the connection.
        sending
    });
    let (mut head, mut last, mut counted) = (Vec::new(), Vec::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    // The first byte arrives after the complete request.
    let limit = TIMEOUT.max(TIMEOUT * (pieces / 1024) as u32);
    while let Ok(read @ 1..) = timeout(limit, receiving.read(&mut buffer)).await.expect("it goes on") {
        let data = &buffer[..read];
        counted += count(data);
        if head.len() < 100 {
            head.extend_from_slice(data);
        }
        last = [&last[last.len().saturating_sub(5)..], data].concat();
    }
    upload.abort();
    (counted, head, last.ends_with(b"0\r\n\r\n"))
}

/// Reads a request to its end, and then responds with a body of the same size.
async fn reads_then_writes(mut upstream: Raw, pieces: usize) {
    let mut tail = upstream.read_until("\r\n\r\n").await.into_bytes();
    let (mut buffer, mut counted) = (vec![0; 1 << 20], count(&tail));
    while !tail.ends_with(b"0\r\n\r\n") {
        let read = soon(upstream.0.read(&mut buffer)).await.expect("the gateway sends");
        assert!(read > 0, "it ends well");
        counted += count(&buffer[..read]);
        tail = [&tail[tail.len().saturating_sub(5)..], &buffer[..read]].concat();
    }
    assert_eq!(counted, pieces * 65_535);
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let piece = format!("10000\r\n{}\n\r\n", "8".repeat(65_535));
    for _ in 0..pieces {
        upstream.send(&piece).await;
    }
    upstream.send("0\r\n\r\n").await;
}

async fn passes_both_ways(pieces: usize) {
    let listener = bind().await;
    let limits = "limits = { replay_bytes = '64KiB', written_bytes = '64KiB' }";
    let server = serve(&format!("stream = 'both'\n{limits}"), "1", &listener).await;
    let upstream = tokio::spawn(async move { reads_then_writes(accept(&listener).await, pieces).await });
    let (counted, head, is_whole) = exchange(&server, pieces).await;
    assert!(head.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&head));
    assert!(is_whole);
    assert_eq!(counted, pieces * 65_535);
    upstream.await.expect("it doesn't panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_request_and_a_long_response_pass() {
    passes_both_ways(512).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn a_gigabyte_passes_both_ways() {
    passes_both_ways(16 * 1024).await;
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("there is a peak");
    let peak: usize = peak.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
    // Most of it is used by the compiler, not for bodies.
    assert!(peak < 400 * 1024, "{peak} KiB");
}

/// Sends back what it reads, and doesn't read more until that is received.
async fn echoes(mut upstream: Raw) {
    let head = upstream.read_until("\r\n\r\n").await;
    let (_, first) = head.split_once("\r\n\r\n").expect("it ends so");
    // It sends the chunks back unchanged.
    upstream.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{first}")).await;
    let (mut receiving, mut sending) = upstream.0.into_split();
    let _ = tokio::io::copy(&mut receiving, &mut sending).await;
}

async fn echoes_http2(upstream: Raw) {
    let mut upstream = h2::server::handshake(upstream.0).await.expect("it speaks HTTP/2");
    let (request, mut respond) = upstream.accept().await.expect("a request").expect("a request");
    tokio::spawn(async move { while upstream.accept().await.is_some() {} });
    let mut body = request.into_body();
    let mut answer = respond.send_response(Response::new(()), false).expect("it is sent");
    while let Some(Ok(data)) = body.data().await {
        let len = data.len();
        answer.reserve_capacity(len);
        while answer.capacity() < len {
            match poll_fn(|cx| answer.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                _ => return,
            }
        }
        if answer.send_data(data, false).is_err() || body.flow_control().release_capacity(len).is_err() {
            return;
        }
    }
}

async fn echo_ends<E: Future<Output = ()> + Send>(
    http: &str,
    echoes: impl FnOnce(Raw) -> E + Send + 'static,
) {
    const PIECES: usize = 1024;
    let listener = bind().await;
    let server = serve("stream = 'both'\nlimits = { stream_stall = '300ms' }", http, &listener).await;
    let upstream = tokio::spawn(async move { echoes(accept(&listener).await).await });
    let (counted, head, is_whole) = exchange(&server, PIECES).await;
    assert!(head.starts_with(b"HTTP/1.1 200 OK"), "HTTP/{http}: {}", String::from_utf8_lossy(&head));
    assert!(counted > 0 && counted < PIECES * 65_535, "{counted}");
    assert!(!is_whole, "a part must not look like the whole");
    upstream.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_that_waits_for_its_reader_ends_with_an_aborted_response() {
    echo_ends("1", echoes).await;
    echo_ends("2", echoes_http2).await;
}
