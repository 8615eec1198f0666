//! HTTP/1.1 upstreams, byte by byte.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::peer::Upstreams;
use super::{request, soon};
use crate::body::{BoxBody, BoxError, boxed, empty};
use crate::config::{Time, Upstream};
use crate::proxy::Proxy;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn send(proxy: &Arc<Proxy>, method: &'static str, body: BoxBody) -> JoinHandle<Response<BoxBody>> {
    let proxy = proxy.clone();
    tokio::spawn(async move { proxy.respond(&mut request(method, body)).await })
}

fn get(proxy: &Arc<Proxy>) -> JoinHandle<Response<BoxBody>> {
    send(proxy, "GET", empty())
}

/// The response's status, after its body.
async fn status(response: JoinHandle<Response<BoxBody>>) -> u16 {
    let response = soon(response).await.unwrap();
    let status = response.status().as_u16();
    soon(response.into_body().collect()).await.expect("a whole body");
    status
}

/// Begins an upload, whose head has arrived at the upstream. Returns the sender of its body, the response, and the
/// upstream's connection.
async fn upload(
    upstreams: &Upstreams,
) -> (Sender<Bytes, BoxError>, JoinHandle<Response<BoxBody>>, DuplexStream) {
    let (sender, body) = Channel::new(1);
    let response = send(&upstreams.proxy, "POST", boxed(body));
    let mut io = upstreams.accept().await;
    head(&mut io).await;
    (sender, response, io)
}

/// Reads a head.
async fn head(io: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = soon(io.read_u8()).await.expect("a request comes");
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}

async fn answer(io: &mut DuplexStream, bytes: &str) {
    soon(io.write_all(bytes.as_bytes())).await.unwrap();
}

/// Whether the proxy closes the connection within this time.
async fn closes(io: &mut DuplexStream, within: Duration) -> bool {
    let mut rest = Vec::new();
    timeout(within, io.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_reused_in_origin_form_with_a_host_until_its_idle_timeout() {
    let upstreams = Upstreams::new(Upstream { idle_timeout: Time::seconds(30), ..Upstream::default() });
    let response = get(&upstreams.proxy);
    let mut io = upstreams.accept().await;
    assert!(head(&mut io).await.starts_with("GET /a?b HTTP/1.1\r\nhost: mine\r\n"));
    answer(&mut io, OK).await;
    assert_eq!(status(response).await, 200);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let response = get(&upstreams.proxy);
    head(&mut io).await;
    answer(&mut io, OK).await;
    assert_eq!(status(response).await, 200);
    let start = Instant::now();
    assert!(closes(&mut io, Duration::from_secs(100)).await);
    let idle = start.elapsed().as_millis();
    assert!((29_000..=31_000).contains(&idle), "{idle} ms");
    assert!(upstreams.no_more().await);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_idle_connections_is_limited() {
    let upstreams = Upstreams::new(Upstream { max_idle: 1.try_into().unwrap(), ..Upstream::default() });
    let (first, second) = (get(&upstreams.proxy), get(&upstreams.proxy));
    let (mut a, mut b) = (upstreams.accept().await, upstreams.accept().await);
    for io in [&mut a, &mut b] {
        head(io).await;
        answer(io, OK).await;
    }
    assert_eq!((status(first).await, status(second).await), (200, 200));
    let soon = Duration::from_secs(1);
    assert_eq!(usize::from(closes(&mut a, soon).await) + usize::from(closes(&mut b, soon).await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_arrives_at_once_frees_its_connection_before_it_is_read() {
    let upstreams = Upstreams::new(Upstream::default());
    let mut unread = Vec::new();
    let first = get(&upstreams.proxy);
    let mut io = upstreams.accept().await;
    head(&mut io).await;
    answer(&mut io, OK).await;
    unread.push(soon(first).await.unwrap());
    let second = get(&upstreams.proxy);
    head(&mut io).await;
    answer(&mut io, OK).await;
    unread.push(soon(second).await.unwrap());
    assert!(upstreams.no_more().await);
    for response in unread {
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
    // Bytes after the response belong to no request.
    let third = get(&upstreams.proxy);
    head(&mut io).await;
    answer(&mut io, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!").await;
    assert_eq!(status(third).await, 200);
    assert!(closes(&mut io, Duration::from_secs(1)).await);
}

/// Returns an idle connection that the server closes while a request arrives.
async fn stale(upstreams: &Upstreams) -> DuplexStream {
    let response = get(&upstreams.proxy);
    let mut io = upstreams.accept().await;
    head(&mut io).await;
    answer(&mut io, OK).await;
    assert_eq!(status(response).await, 200);
    io
}

#[tokio::test(start_paused = true)]
async fn a_get_on_a_connection_being_closed_is_retried_on_a_new_one() {
    let upstreams = Upstreams::new(Upstream { retries: 1, ..Upstream::default() });
    // Far more often than the retry budget allows.
    for _ in 0..300 {
        // Two idle connections, both of which are about to be closed.
        let (first, second) = (get(&upstreams.proxy), get(&upstreams.proxy));
        let (mut a, mut b) = (upstreams.accept().await, upstreams.accept().await);
        for io in [&mut a, &mut b] {
            head(io).await;
            answer(io, OK).await;
        }
        assert_eq!((status(first).await, status(second).await), (200, 200));
        let response = get(&upstreams.proxy);
        head(&mut b).await;
        drop(b);
        let mut new = upstreams.accept().await;
        head(&mut new).await;
        answer(&mut new, OK.replace("\r\nContent", "\r\nConnection: close\r\nContent").as_str()).await;
        assert_eq!(status(response).await, 200);
        drop(a);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let failures: u64 = upstreams.proxy.addresses().map(|address| address.failures).sum();
    assert_eq!(failures, 0, "an idle connection may end");
}

#[tokio::test(start_paused = true)]
async fn a_post_on_a_connection_being_closed_is_not_retried() {
    let upstreams = Upstreams::new(Upstream::default());
    let mut io = stale(&upstreams).await;
    let response = send(&upstreams.proxy, "POST", empty());
    head(&mut io).await;
    drop(io);
    assert_eq!(status(response).await, 502);
    assert!(upstreams.no_more().await);
}

#[tokio::test(start_paused = true)]
async fn a_request_of_any_method_is_retried_if_nothing_of_it_was_written() {
    for method in ["GET", "POST"] {
        let upstreams = Upstreams::new(Upstream { retries: 0, ..Upstream::default() });
        let closed = stale(&upstreams).await;
        upstreams.fail_next_write();
        let response = send(&upstreams.proxy, method, boxed(Full::from("body")));
        let mut new = upstreams.accept().await;
        assert!(head(&mut new).await.starts_with(method));
        let mut body = [0; 4];
        soon(new.read_exact(&mut body)).await.unwrap();
        assert_eq!(&body, b"body");
        answer(&mut new, OK).await;
        assert_eq!(status(response).await, 200, "{method}");
        // The new connection is used from then on.
        drop(closed);
        let response = get(&upstreams.proxy);
        head(&mut new).await;
        answer(&mut new, OK).await;
        assert_eq!(status(response).await, 200);
        let failures: u64 = upstreams.proxy.addresses().map(|address| address.failures).sum();
        assert_eq!(failures, 0, "an idle connection may end");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_not_retried_if_a_new_connection_cannot_be_written_to() {
    let upstreams = Upstreams::new(Upstream { retries: 0, ..Upstream::default() });
    upstreams.fail_next_write();
    let response = send(&upstreams.proxy, "POST", empty());
    drop(upstreams.accept().await);
    assert_eq!(status(response).await, 502);
    assert!(upstreams.no_more().await);
}

#[tokio::test(start_paused = true)]
async fn a_received_response_is_used_even_if_the_request_cannot_be_written_completely() {
    let upstreams = Upstreams::new(Upstream::default());
    let (mut sender, response, mut io) = upload(&upstreams).await;
    // The proxy only runs after all of this has happened.
    upstreams.fail_next_write();
    let (answered, sent) = tokio::join!(
        io.write_all(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 4\r\n\r\nlarg"),
        sender.send_data("more".into())
    );
    answered.unwrap();
    sent.unwrap();
    assert_eq!(status(response).await, 413);
    assert!(closes(&mut io, Duration::from_secs(1)).await, "it isn't used again");
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_closed_if_the_upstream_answers_early_and_stops_reading() {
    let upstreams = Upstreams::new(Upstream { idle_timeout: Time::seconds(5), ..Upstream::default() });
    let (mut sender, response, mut io) = upload(&upstreams).await;
    let upload = tokio::spawn(async move {
        while sender.send_data(Bytes::from_static(&[b'x'; 64 * 1024])).await.is_ok() {}
    });
    answer(&mut io, "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 4\r\n\r\nlarg").await;
    assert_eq!(status(response).await, 413);
    timeout(Duration::from_secs(6), upload).await.expect("nobody takes the rest of the upload").unwrap();
    let mut rest = Vec::new();
    let _ = soon(io.read_to_end(&mut rest)).await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_ends_if_the_upstream_answers_early_and_closes_the_connection() {
    let upstreams = Upstreams::new(Upstream::default());
    let (mut sender, response, mut io) = upload(&upstreams).await;
    answer(&mut io, OK).await;
    assert_eq!(status(response).await, 200);
    drop(io);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(soon(sender.send_data("more".into())).await.is_err(), "the body is dropped without a write");
}

#[tokio::test(start_paused = true)]
async fn an_upload_may_finish_after_the_response_and_the_connection_is_reused() {
    let upstreams = Upstreams::new(Upstream { idle_timeout: Time::seconds(5), ..Upstream::default() });
    let (mut sender, response, mut io) = upload(&upstreams).await;
    answer(&mut io, OK).await;
    assert_eq!(status(response).await, 200);
    let mut chunk = [0; 8];
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        soon(sender.send_data("abc".into())).await.unwrap();
        soon(io.read_exact(&mut chunk)).await.unwrap();
        assert_eq!(&chunk, b"3\r\nabc\r\n");
    }
    drop(sender);
    let mut end = [0; 5];
    soon(io.read_exact(&mut end)).await.unwrap();
    assert_eq!(&end, b"0\r\n\r\n");
    tokio::time::sleep(Duration::from_millis(1)).await;
    let response = get(&upstreams.proxy);
    head(&mut io).await;
    answer(&mut io, OK).await;
    assert_eq!(status(response).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_disconnect_closes_the_upstream_connection() {
    let upstreams = Upstreams::new(Upstream::default());
    let response = get(&upstreams.proxy);
    let mut io = upstreams.accept().await;
    head(&mut io).await;
    response.abort();
    assert!(closes(&mut io, Duration::from_secs(1)).await, "while it waits for the head");

    let response = get(&upstreams.proxy);
    let mut io = upstreams.accept().await;
    head(&mut io).await;
    answer(&mut io, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    drop(soon(response).await.unwrap());
    assert!(closes(&mut io, Duration::from_secs(1)).await, "while it reads the body");
}

#[tokio::test(start_paused = true)]
async fn interim_responses_do_not_extend_the_response_timeout() {
    let settings = Upstream { response_timeout: Time::seconds(3), ..Upstream::default() };
    let upstreams = Upstreams::new(settings);
    let response = get(&upstreams.proxy);
    let mut io = upstreams.accept().await;
    head(&mut io).await;
    let flood = tokio::spawn(async move {
        while io.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let start = Instant::now();
    assert_eq!(status(response).await, 504);
    assert!(start.elapsed() < Duration::from_secs(4));
    let dropped: u64 = upstreams.proxy.addresses().map(|address| address.informational_dropped).sum();
    assert!((20..=31).contains(&dropped), "{dropped}");
    soon(flood).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn heads_over_the_limits_are_a_502_without_a_retry_or_a_recorded_failure() {
    for (count, value, passes) in [(1, 40_000, true), (250, 100, true), (257, 1, false), (2, 40_000, false)] {
        let upstreams = Upstreams::new(Upstream { retries: 3, ..Upstream::default() });
        let response = get(&upstreams.proxy);
        let mut io = upstreams.accept().await;
        head(&mut io).await;
        let fields: String =
            (0..count).map(|index| format!("x-{index}: {}\r\n", "v".repeat(value))).collect();
        answer(&mut io, &format!("HTTP/1.1 204 No Content\r\n{fields}\r\n")).await;
        assert_eq!(status(response).await, if passes { 204 } else { 502 }, "{count} of {value} bytes");
        let failures: u64 = upstreams.proxy.addresses().map(|address| address.failures).sum();
        assert_eq!(failures, 0);
        assert!(upstreams.no_more().await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unread_response_does_not_block_the_upload() {
    let upstreams = Upstreams::new(Upstream::default());
    let (mut sender, response, mut io) = upload(&upstreams).await;
    answer(&mut io, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").await;
    let response = soon(response).await.unwrap();
    let mut chunk = [0; 8];
    for _ in 0..100 {
        soon(sender.send_data("abc".into())).await.unwrap();
        soon(io.read_exact(&mut chunk)).await.unwrap();
        assert_eq!(&chunk, b"3\r\nabc\r\n");
    }
    drop(sender);
    soon(io.read_exact(&mut chunk[..5])).await.unwrap();
    answer(&mut io, "llo").await;
    assert_eq!(soon(response.into_body().collect()).await.unwrap().to_bytes(), "hello");
    let response = get(&upstreams.proxy);
    head(&mut io).await;
    answer(&mut io, OK).await;
    assert_eq!(status(response).await, 200, "the connection is used again");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_closed_by_the_server_is_dropped_and_not_reused() {
    let upstreams = Upstreams::new(Upstream::default());
    let io = stale(&upstreams).await;
    let (mut read, write) = tokio::io::split(io);
    let mut write = write;
    soon(write.shutdown()).await.unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(2), read.read_to_end(&mut rest)).await.expect("it is closed").unwrap();
    assert_eq!(rest, b"");

    let mut io = stale(&upstreams).await;
    soon(io.write_all(b"surplus")).await.unwrap();
    let response = send(&upstreams.proxy, "POST", empty());
    let mut new = upstreams.accept().await;
    head(&mut new).await;
    answer(&mut new, OK).await;
    assert_eq!(status(response).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_body_that_does_not_match_its_length_is_never_sent_as_complete() {
    for sent in ["ab", "abcd"] {
        let upstreams = Upstreams::new(Upstream::default());
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(2);
        let mut inbound = request("POST", boxed(body));
        inbound.request.headers_mut().insert("content-length", 3.into());
        *inbound.request.body_mut() = boxed(Sized(std::mem::take(inbound.request.body_mut())));
        let proxy = upstreams.proxy.clone();
        let response = tokio::spawn(async move { proxy.respond(&mut inbound).await });
        soon(sender.send_data(sent.into())).await.unwrap();
        drop(sender);
        let mut io = upstreams.accept().await;
        let mut all = Vec::new();
        let _ = soon(io.read_to_end(&mut all)).await;
        let all = String::from_utf8(all).unwrap();
        assert!(all.is_empty() || all.ends_with("\r\n\r\nab"), "{all:?}");
        assert_eq!(status(response).await, 400);
    }
}

/// A body that declares a length of three bytes.
struct Sized(BoxBody);

impl http_body::Body for Sized {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(3)
    }
}
