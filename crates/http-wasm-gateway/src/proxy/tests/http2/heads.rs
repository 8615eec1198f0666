//! Heads and trailers: their limits, and malformed ones.

use http_body_util::BodyExt as _;

use super::super::peer::{DATA, END_HEADERS, END_STREAM, HEADERS, OK, Peer, RST_STREAM, Upstreams};
use super::super::{request, soon};
use super::{failures, get, status};
use crate::body::empty;
use crate::config::Upstream;

/// A field as a literal that isn't indexed (RFC 7541 section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

#[tokio::test(start_paused = true)]
async fn a_response_with_white_space_around_a_value_or_status_101_is_a_502() {
    for (head, expected) in [
        ([OK, &field("x", "a b")].concat(), 200),
        ([OK, &field("x", "a ")].concat(), 502),
        ([OK, &field("x", "\ta")].concat(), 502),
        (field(":status", "101"), 502),
    ] {
        let upstreams = Upstreams::http2(Upstream { retries: 0, ..Upstream::default() });
        let response = get(&upstreams.proxy);
        let mut peer = upstreams.accept_http2(&[]).await;
        let stream = peer.request().await;
        peer.send(HEADERS, END_HEADERS, stream, &head).await;
        assert_eq!(status(response).await, expected, "{head:x?}");
        assert_eq!(failures(&upstreams.proxy), 0, "it says nothing about other requests");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_with_white_space_around_a_trailer_value_is_aborted() {
    for (value, whole) in [("a b", true), (" a", false)] {
        let upstreams = Upstreams::http2(Upstream::default());
        let response = get(&upstreams.proxy);
        let mut peer = upstreams.accept_http2(&[]).await;
        let stream = peer.request().await;
        peer.send(HEADERS, END_HEADERS, stream, OK).await;
        peer.send(DATA, 0, stream, b"body").await;
        peer.send(HEADERS, END_HEADERS | END_STREAM, stream, &field("x-sum", value)).await;
        let body = soon(response).await.unwrap().into_body();
        assert_eq!(soon(body.collect()).await.is_ok(), whole, "{value:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_malformed_response_is_a_502_without_a_retry_or_a_recorded_failure() {
    let upstreams = Upstreams::http2(Upstream { retries: 3, ..Upstream::default() });
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    // No `:status`.
    peer.send(HEADERS, END_HEADERS, stream, &[0, 1, b'a', 1, b'b']).await;
    assert_eq!(status(response).await, 502);
    assert_eq!(failures(&upstreams.proxy), 0);
    assert_eq!(soon(peer.next()).await.unwrap().kind, RST_STREAM);
    let response = get(&upstreams.proxy);
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(status(response).await, 200, "the connection goes on");
}

/// Fields in HPACK: literals that are never indexed.
fn fields(count: usize, value: usize) -> Vec<u8> {
    let mut block = Vec::new();
    for index in 0..count {
        let name = format!("x-{index:04}");
        block.extend([0x10, u8::try_from(name.len()).unwrap()]);
        block.extend(name.as_bytes());
        match value.checked_sub(127) {
            None => block.push(u8::try_from(value).unwrap()),
            Some(mut rest) => {
                block.push(127);
                while rest >= 128 {
                    block.push((rest & 127) as u8 | 128);
                    rest >>= 7;
                }
                block.push(rest as u8);
            }
        }
        block.extend(std::iter::repeat_n(b'v', value));
    }
    block
}

/// Sends a header block in as many frames as it needs.
async fn send_block(peer: &mut Peer, stream: u32, flags: u8, block: &[u8]) {
    const CONTINUATION: u8 = 9;
    let chunks: Vec<&[u8]> = block.chunks(16 * 1024).collect();
    for (index, chunk) in chunks.iter().enumerate() {
        let end = if index + 1 == chunks.len() { END_HEADERS } else { 0 };
        let (kind, flags) = if index == 0 { (HEADERS, flags) } else { (CONTINUATION, 0) };
        peer.send(kind, flags | end, stream, chunk).await;
    }
}

#[tokio::test(start_paused = true)]
async fn heads_over_the_limits_are_a_502_without_a_retry_or_a_recorded_failure() {
    for (count, value, passes) in
        [(1, 40_000, true), (256, 100, true), (257, 1, false), (2, 40_000, false), (3, 100_000, false)]
    {
        let upstreams = Upstreams::http2(Upstream { retries: 3, ..Upstream::default() });
        let response = get(&upstreams.proxy);
        let mut peer = upstreams.accept_http2(&[]).await;
        let stream = peer.request().await;
        send_block(&mut peer, stream, END_STREAM, &[OK, &fields(count, value)].concat()).await;
        let response = soon(response).await.unwrap();
        assert_eq!(response.status().as_u16(), if passes { 200 } else { 502 }, "{count} of {value} bytes");
        if passes {
            assert_eq!(response.headers().len(), count);
        }
        assert_eq!(failures(&upstreams.proxy), 0);
        // The connection stays in use, and nothing was retried.
        let next = get(&upstreams.proxy);
        let stream = loop {
            let frame = soon(peer.next()).await.unwrap();
            if frame.kind == HEADERS {
                break frame.stream;
            }
        };
        peer.answer(stream).await;
        assert_eq!(status(next).await, 200);
        assert!(upstreams.no_more().await);
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_arrive_complete_or_abort_the_response() {
    for (count, value, passes) in
        [(1, 40_000, true), (256, 100, true), (257, 1, false), (2, 40_000, false), (1, 300_000, false)]
    {
        let upstreams = Upstreams::http2(Upstream::default());
        let response = get(&upstreams.proxy);
        let mut peer = upstreams.accept_http2(&[]).await;
        let stream = peer.request().await;
        peer.send(HEADERS, END_HEADERS, stream, OK).await;
        send_block(&mut peer, stream, END_STREAM, &fields(count, value)).await;
        let response = soon(response).await.unwrap();
        let body = soon(response.into_body().collect()).await;
        let received = body.ok().map(|body| body.trailers().map_or(0, http::HeaderMap::len));
        assert_eq!(received, passes.then_some(count), "{count} of {value} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn endless_interim_responses_are_an_error() {
    let upstreams = Upstreams::http2(Upstream { retries: 0, ..Upstream::default() });
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    for _ in 0..1000 {
        // `:status` 103
        peer.send(HEADERS, END_HEADERS, stream, &[0x08, 3, b'1', b'0', b'3']).await;
    }
    assert_eq!(status(response).await, 502);
    let dropped: u64 = upstreams.proxy.addresses().map(|address| address.informational_dropped).sum();
    assert_eq!(dropped, 101);
}

#[tokio::test(start_paused = true)]
async fn a_request_head_too_large_for_the_shared_connection_is_not_sent() {
    let upstreams = Upstreams::http2(Upstream::default());
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(status(response).await, 200);
    for fields in [vec![9000], vec![6000, 6000, 6000]] {
        let mut large = request("GET", empty());
        for (index, size) in fields.into_iter().enumerate() {
            let name = http::HeaderName::try_from(format!("x-{index}")).unwrap();
            large.request.headers_mut().insert(name, "v".repeat(size).parse().unwrap());
        }
        assert_eq!(soon(upstreams.proxy.respond(&mut large)).await.status(), 431);
    }
    assert_eq!(failures(&upstreams.proxy), 0);
}
