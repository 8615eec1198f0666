//! HTTP/2 upstreams, frame by frame.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Channel, Full};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::peer::{
    ACK, CANCEL, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, MAX_CONCURRENT_STREAMS, NO_ERROR, OK, PING,
    REFUSED_STREAM, RST_STREAM, Upstreams,
};
use super::{request, soon};
use crate::body::{BoxBody, BoxError, boxed, empty};
use crate::config::{Time, TimeOrOff, Upstream};
use crate::proxy::Proxy;

fn send(proxy: &Arc<Proxy>, method: &'static str, body: BoxBody) -> JoinHandle<Response<BoxBody>> {
    let proxy = proxy.clone();
    tokio::spawn(async move { proxy.respond(&mut request(method, body)).await })
}

fn get(proxy: &Arc<Proxy>) -> JoinHandle<Response<BoxBody>> {
    send(proxy, "GET", empty())
}

async fn status(response: JoinHandle<Response<BoxBody>>) -> u16 {
    soon(response).await.unwrap().status().as_u16()
}

fn failures(proxy: &Proxy) -> u64 {
    proxy.addresses().map(|address| address.failures).sum()
}

/// Lets everything happen that can happen now.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_connection_s_window_has_room_for_the_windows_of_all_streams() {
    let upstreams = Upstreams::http2(Upstream::default());
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(status(response).await, 200);
    let window = peer.settings.iter().find(|(id, _)| *id == 4).expect("an initial window").1;
    assert_eq!(window, 256 * 1024);
    assert_eq!(u64::from(peer.granted) + 65_535, u64::from(window) * 100);
}

#[tokio::test(start_paused = true)]
async fn a_download_that_nobody_reads_holds_up_no_other() {
    let upstreams = Upstreams::http2(Upstream::default());
    let mut unread = Vec::new();
    let first = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let mut first = Some(first);
    for _ in 0..99 {
        let response = first.take().unwrap_or_else(|| get(&upstreams.proxy));
        let stream = peer.request().await;
        peer.send(HEADERS, END_HEADERS, stream, OK).await;
        // The whole window of the stream.
        for _ in 0..16 {
            peer.send(DATA, 0, stream, &[b'x'; 16 * 1024]).await;
        }
        unread.push(soon(response).await.unwrap());
    }
    let response = get(&upstreams.proxy);
    let stream = peer.request().await;
    peer.send(HEADERS, END_HEADERS, stream, OK).await;
    peer.send(DATA, END_STREAM, stream, &[b'x'; 16 * 1024]).await;
    let body = soon(soon(response).await.unwrap().into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body.len(), 16 * 1024);
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_of_streams_go_to_further_connections_and_then_wait() {
    let settings = Upstream { max_http2_connections: 2.try_into().unwrap(), ..Upstream::default() };
    let upstreams = Upstreams::http2(settings);
    let mut held = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..2 {
        let response = get(&upstreams.proxy);
        let mut peer = upstreams.accept_http2(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
        held.push((response, peer.request().await));
        peers.push(peer);
    }
    let waiting = get(&upstreams.proxy);
    settle().await;
    assert!(upstreams.no_more().await, "there may be two connections");
    let (response, stream) = held.remove(0);
    peers[0].answer(stream).await;
    assert_eq!(status(response).await, 200);
    let stream = peers[0].request().await;
    peers[0].answer(stream).await;
    assert_eq!(status(waiting).await, 200);

    let response = get(&upstreams.proxy);
    peers[0].request().await;
    let too_many = get(&upstreams.proxy);
    assert_eq!(status(too_many).await, 503);
    assert_eq!(failures(&upstreams.proxy), 0, "it is not the upstream's fault");
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_allows_no_streams_any_more_gets_none() {
    let upstreams = Upstreams::http2(Upstream::default());
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(status(response).await, 200);
    let [a, b] = MAX_CONCURRENT_STREAMS.to_be_bytes();
    peer.send(super::peer::SETTINGS, 0, 0, &[a, b, 0, 0, 0, 0]).await;
    settle().await;
    let response = get(&upstreams.proxy);
    let mut other = upstreams.accept_http2(&[]).await;
    let stream = other.request().await;
    other.answer(stream).await;
    assert_eq!(status(response).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_each_connection_at_once_is_not_asked_without_end() {
    for settings in [&[(MAX_CONCURRENT_STREAMS, 0)][..], &[]] {
        let upstreams = Upstreams::http2(Upstream { retries: 0, ..Upstream::default() });
        let response = get(&upstreams.proxy);
        let mut connections = 0;
        while !response.is_finished() {
            assert!(connections < 50, "{settings:?}");
            let next = tokio::time::timeout(Duration::from_secs(1), upstreams.accept_http2(settings)).await;
            let Ok(mut peer) = next else { continue };
            connections += 1;
            peer.goaway(0, NO_ERROR).await;
            settle().await;
        }
        assert_eq!(status(response).await, 502);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refused_is_sent_again_on_another_connection_whatever_the_method() {
    for method in ["GET", "POST", "PATCH"] {
        // Even without retries there is one more try.
        let upstreams = Upstreams::http2(Upstream { retries: 0, ..Upstream::default() });
        let response = send(&upstreams.proxy, method, boxed(Full::from("body")));
        let mut peer = upstreams.accept_http2(&[]).await;
        let stream = peer.request().await;
        peer.reset(stream, REFUSED_STREAM).await;
        let mut other = upstreams.accept_http2(&[]).await;
        let stream = other.request().await;
        let data = soon(other.next()).await.unwrap();
        assert_eq!((data.kind, &data.payload[..]), (DATA, &b"body"[..]), "{method}");
        other.answer(stream).await;
        assert_eq!(status(response).await, 200, "{method}");
        assert_eq!(failures(&upstreams.proxy), 0);
    }
}

/// A field as a literal that is not kept (RFC 7541 section 6.2.2).
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
async fn a_response_with_white_space_around_a_trailer_breaks_off() {
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
async fn what_the_server_keeps_refusing_is_a_502() {
    let upstreams = Upstreams::http2(Upstream::default());
    let response = send(&upstreams.proxy, "POST", empty());
    for _ in 0..2 {
        let mut peer = upstreams.accept_http2(&[]).await;
        let stream = peer.request().await;
        peer.reset(stream, REFUSED_STREAM).await;
    }
    assert_eq!(status(response).await, 502);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_the_response_has_begun_is_neither_sent_again_nor_passed_on() {
    let upstreams = Upstreams::http2(Upstream::default());
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.send(HEADERS, END_HEADERS, stream, OK).await;
    peer.reset(stream, REFUSED_STREAM).await;
    let response = soon(response).await.unwrap();
    let error = soon(response.into_body().collect()).await.expect_err("it broke off");
    let mut source = Some(&*error as &(dyn std::error::Error + 'static));
    while let Some(error) = source {
        assert!(error.downcast_ref::<h2::Error>().is_none(), "hyper would pass the reason on");
        source = error.source();
    }
    assert!(upstreams.no_more().await);
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_number_of_goaway_is_sent_again_and_one_below_only_if_idempotent() {
    for (method, below, sent_again) in
        [("POST", false, true), ("POST", true, false), ("GET", false, true), ("GET", true, true)]
    {
        let upstreams = Upstreams::http2(Upstream::default());
        let response = send(&upstreams.proxy, method, empty());
        let mut peer = upstreams.accept_http2(&[]).await;
        let stream = peer.request().await;
        peer.goaway(if below { stream } else { 0 }, NO_ERROR).await;
        settle().await;
        if below {
            assert!(upstreams.no_more().await, "the server may still answer");
        }
        drop(peer);
        if sent_again {
            let mut other = upstreams.accept_http2(&[]).await;
            let stream = other.request().await;
            other.answer(stream).await;
        }
        let expected = if sent_again { 200 } else { 502 };
        assert_eq!(status(response).await, expected, "{method}, below: {below}");
        assert!(upstreams.no_more().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_gets_no_streams_after_the_first_goaway_and_finishes_those_that_it_has() {
    let upstreams = Upstreams::http2(Upstream::default());
    let first = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.goaway(i32::MAX.unsigned_abs(), NO_ERROR).await;
    settle().await;
    let second = get(&upstreams.proxy);
    let mut other = upstreams.accept_http2(&[]).await;
    let other_stream = other.request().await;
    other.answer(other_stream).await;
    assert_eq!(status(second).await, 200);
    peer.answer(stream).await;
    assert_eq!(status(first).await, 200);
    let end = soon(peer.next()).await;
    assert!(end.is_none_or(|frame| frame.kind == GOAWAY), "it is closed with its last stream");
}

#[tokio::test(start_paused = true)]
async fn a_reset_with_no_error_before_the_response_counts_as_processed() {
    for (method, sent_again) in [("POST", false), ("GET", true)] {
        let upstreams = Upstreams::http2(Upstream::default());
        let response = send(&upstreams.proxy, method, empty());
        let mut peer = upstreams.accept_http2(&[]).await;
        let stream = peer.request().await;
        peer.reset(stream, NO_ERROR).await;
        if sent_again {
            let stream = peer.request().await;
            peer.answer(stream).await;
        }
        assert_eq!(status(response).await, if sent_again { 200 } else { 502 }, "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_with_no_error_is_an_end_only_behind_the_end() {
    for complete in [true, false] {
        let upstreams = Upstreams::http2(Upstream::default());
        let (_sender, body) = Channel::<Bytes, BoxError>::new(1);
        let response = send(&upstreams.proxy, "POST", boxed(body));
        let mut peer = upstreams.accept_http2(&[]).await;
        let stream = peer.request().await;
        peer.send(HEADERS, END_HEADERS, stream, OK).await;
        peer.send(DATA, if complete { END_STREAM } else { 0 }, stream, b"data").await;
        peer.reset(stream, NO_ERROR).await;
        settle().await;
        let response = soon(response).await.unwrap();
        assert_eq!(soon(response.into_body().collect()).await.is_ok(), complete);
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_an_upload_is_not_sent_once_the_response_is_complete() {
    let upstreams = Upstreams::http2(Upstream::default());
    let (_sender, body) = Channel::<Bytes, BoxError>::new(1);
    let response = send(&upstreams.proxy, "POST", boxed(body));
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(status(response).await, 200);
    let reset = soon(peer.next()).await.unwrap();
    assert_eq!(
        (reset.kind, reset.stream, &reset.payload[..]),
        (RST_STREAM, stream, &NO_ERROR.to_be_bytes()[..])
    );
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_while_the_response_comes_and_ends_with_it() {
    let upstreams = Upstreams::http2(Upstream::default());
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let response = send(&upstreams.proxy, "POST", boxed(body));
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.send(HEADERS, END_HEADERS, stream, OK).await;
    let response = soon(response).await.unwrap();
    soon(sender.send_data("late".into())).await.unwrap();
    assert_eq!(soon(peer.next()).await.unwrap().payload, b"late");
    drop(response);
    let reset = soon(peer.next()).await.unwrap();
    assert_eq!(
        (reset.kind, &reset.payload[..]),
        (RST_STREAM, &CANCEL.to_be_bytes()[..]),
        "nobody reads the response"
    );
}

#[tokio::test(start_paused = true)]
async fn empty_data_frames_are_left_out() {
    let upstreams = Upstreams::http2(Upstream::default());
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(8);
    let response = send(&upstreams.proxy, "POST", boxed(body));
    for data in ["", "a", "", ""] {
        soon(sender.send_data(data.into())).await.unwrap();
    }
    drop(sender);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    let mut sizes = Vec::new();
    loop {
        let frame = soon(peer.next()).await.unwrap();
        sizes.push(frame.payload.len());
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(sizes, [1, 0], "the last one ends the stream");
    peer.answer(stream).await;
    assert_eq!(status(response).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_be_silent_for_long_and_is_asked_about_in_time() {
    let upstreams = Upstreams::http2(Upstream::default());
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.send(HEADERS, END_HEADERS, stream, OK).await;
    let response = soon(response).await.unwrap();
    let reading = tokio::spawn(response.into_body().collect());
    // The server answers PINGs for an hour.
    let _ = tokio::time::timeout(Duration::from_secs(3600), peer.next()).await;
    assert_eq!(peer.pings, 11, "every 310 s");
    assert!(!reading.is_finished());
    peer.answers_pings = false;
    let silent = tokio::time::Instant::now();
    assert!(reading.await.unwrap().is_err(), "the stream ends with its dead connection");
    let _ = soon(peer.next()).await;
    assert!(silent.elapsed() <= Duration::from_secs(310 + 20 + 1), "{:?}", silent.elapsed());
}

#[tokio::test(start_paused = true)]
async fn pings_can_be_switched_off() {
    let upstreams = Upstreams::http2(Upstream { ping_interval: TimeOrOff(None), ..Upstream::default() });
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.send(HEADERS, END_HEADERS, stream, OK).await;
    let _response = soon(response).await.unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(3600), peer.next()).await;
    assert_eq!(peer.pings, 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_closed_when_its_last_stream_has_been_over_for_the_idle_timeout() {
    let upstreams = Upstreams::http2(Upstream { idle_timeout: Time::seconds(30), ..Upstream::default() });
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.send(HEADERS, END_HEADERS, stream, OK).await;
    let response = soon(response).await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_secs(100), peer.next()).await;
    assert!(quiet.is_err(), "a connection with a stream isn't idle");
    peer.send(DATA, END_STREAM, stream, b"").await;
    soon(response.into_body().collect()).await.unwrap();
    let over = tokio::time::Instant::now();
    let _ = peer.next().await;
    let idle = over.elapsed().as_millis();
    assert!((29_000..=31_000).contains(&idle), "{idle} ms");
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_a_request_timed_out_in_silence_is_asked_before_it_gets_another() {
    let upstreams = Upstreams::http2(Upstream {
        response_timeout: Time::seconds(3),
        ping_interval: TimeOrOff(None),
        ..Upstream::default()
    });
    let timed_out = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    peer.answers_pings = false;
    peer.request().await;
    assert_eq!(status(timed_out).await, 504);
    let response = get(&upstreams.proxy);
    let mut other = upstreams.accept_http2(&[]).await;
    let stream = other.request().await;
    other.answer(stream).await;
    assert_eq!(status(response).await, 200);
    // The server was only slow: the reset of the timed-out stream comes, then the one PING, which it answers.
    assert_eq!(soon(peer.next()).await.unwrap().kind, RST_STREAM);
    let _ = tokio::time::timeout(Duration::from_secs(1), peer.next()).await;
    assert_eq!(peer.pings, 1);
    peer.send(PING, ACK, 0, b"whatever").await;
    drop(other);
    settle().await;
    let response = get(&upstreams.proxy);
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(status(response).await, 200);
}

/// Fields in HPACK: literals, never indexed.
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

/// Sends a block of fields in as many frames as it takes.
async fn send_block(peer: &mut super::peer::Peer, stream: u32, flags: u8, block: &[u8]) {
    const CONTINUATION: u8 = 9;
    let chunks: Vec<&[u8]> = block.chunks(16 * 1024).collect();
    for (index, chunk) in chunks.iter().enumerate() {
        let end = if index + 1 == chunks.len() { END_HEADERS } else { 0 };
        let (kind, flags) = if index == 0 { (HEADERS, flags) } else { (CONTINUATION, 0) };
        peer.send(kind, flags | end, stream, chunk).await;
    }
}

#[tokio::test(start_paused = true)]
async fn heads_pass_up_to_their_limits_and_are_a_502_beyond_without_blame_or_another_try() {
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
        // The connection lives on, and nothing was sent again.
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
async fn trailers_arrive_whole_or_break_the_response_off() {
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
async fn a_server_that_sends_interim_responses_without_end_is_given_up() {
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
async fn uploads_keep_away_from_a_connection_whose_window_others_have_used_up() {
    let upstreams = Upstreams::http2(Upstream::default());
    let stuck = send(&upstreams.proxy, "POST", boxed(Full::from(vec![b'x'; 100_000])));
    let mut peer = upstreams.accept_http2(&[]).await;
    peer.request().await;
    let mut received = 0;
    while received < 65_535 {
        received += soon(peer.next()).await.unwrap().payload.len();
    }
    let upload = send(&upstreams.proxy, "POST", boxed(Full::from("body")));
    let mut other = upstreams.accept_http2(&[]).await;
    let stream = other.request().await;
    assert_eq!(soon(other.next()).await.unwrap().payload, b"body");
    other.answer(stream).await;
    assert_eq!(status(upload).await, 200);
    // One without a body needs no window.
    let response = get(&upstreams.proxy);
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(status(response).await, 200);
    assert!(!stuck.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_request_head_that_would_cost_others_the_connection_is_not_sent() {
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

#[tokio::test(start_paused = true)]
async fn a_malformed_response_is_a_502_without_blame_or_another_try() {
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

#[tokio::test(start_paused = true)]
async fn an_upload_that_waits_for_a_window_that_others_hold_is_not_held_against_the_address() {
    let settings = Upstream {
        max_http2_connections: 1.try_into().unwrap(),
        response_timeout: Time::seconds(3),
        retries: 0,
        ..Upstream::default()
    };
    let upstreams = Upstreams::http2(settings);
    let stuck = send(&upstreams.proxy, "POST", boxed(Full::from(vec![b'x'; 100_000])));
    let mut peer = upstreams.accept_http2(&[]).await;
    peer.request().await;
    let mut received = 0;
    while received < 65_535 {
        received += soon(peer.next()).await.unwrap().payload.len();
    }
    let upload = send(&upstreams.proxy, "POST", boxed(Full::from("body")));
    peer.request().await;
    assert_eq!(status(upload).await, 504);
    assert_eq!(status(stuck).await, 504);
    assert!(failures(&upstreams.proxy) <= 1, "the first one was handed over whole");
}

#[tokio::test(start_paused = true)]
async fn a_draining_connection_whose_streams_are_silent_is_closed() {
    let settings = Upstream { response_timeout: Time::seconds(600), retries: 0, ..Upstream::default() };
    let upstreams = Upstreams::http2(settings);
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.goaway(stream, 0).await;
    let start = Instant::now();
    let response = tokio::time::timeout(Duration::from_secs(100), response).await.unwrap().unwrap();
    assert_eq!(response.status(), 502);
    assert!((50..70).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}
