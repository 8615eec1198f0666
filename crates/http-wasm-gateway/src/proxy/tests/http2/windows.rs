//! Flow-control windows of connections and streams, and limits on the number of streams.

use http::Response;
use http_body_util::{BodyExt as _, Full};
use tokio::task::JoinHandle;

use super::super::peer::{
    DATA, END_HEADERS, END_STREAM, HEADERS, MAX_CONCURRENT_STREAMS, OK, Peer, SETTINGS, Upstreams,
};
use super::super::soon;
use super::{failures, get, send, settle, status};
use crate::body::{BoxBody, boxed};
use crate::config::{Time, Upstream};

#[tokio::test(start_paused = true)]
async fn the_connection_window_covers_the_windows_of_all_streams() {
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
async fn an_unread_download_does_not_block_others() {
    let upstreams = Upstreams::http2(Upstream::default());
    let mut unread = Vec::new();
    let first = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let mut first = Some(first);
    for _ in 0..99 {
        let response = first.take().unwrap_or_else(|| get(&upstreams.proxy));
        let stream = peer.request().await;
        peer.send(HEADERS, END_HEADERS, stream, OK).await;
        // This uses up the whole window of the stream.
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
async fn requests_over_the_stream_limit_use_further_connections_and_then_wait() {
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
async fn a_server_that_lowers_its_stream_limit_to_zero_gets_no_streams() {
    let upstreams = Upstreams::http2(Upstream::default());
    let response = get(&upstreams.proxy);
    let mut peer = upstreams.accept_http2(&[]).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(status(response).await, 200);
    let [a, b] = MAX_CONCURRENT_STREAMS.to_be_bytes();
    peer.send(SETTINGS, 0, 0, &[a, b, 0, 0, 0, 0]).await;
    settle().await;
    let response = get(&upstreams.proxy);
    let mut other = upstreams.accept_http2(&[]).await;
    let stream = other.request().await;
    other.answer(stream).await;
    assert_eq!(status(response).await, 200);
}

#[tokio::test(start_paused = true)]
async fn uploads_avoid_a_connection_with_an_exhausted_window() {
    let upstreams = Upstreams::http2(Upstream::default());
    let (stuck, mut peer) = stuck_upload(&upstreams).await;
    let upload = send(&upstreams.proxy, "POST", boxed(Full::from("body")));
    let mut other = upstreams.accept_http2(&[]).await;
    let stream = other.request().await;
    assert_eq!(soon(other.next()).await.unwrap().payload, b"body");
    other.answer(stream).await;
    assert_eq!(status(upload).await, 200);
    // A request without a body needs no window.
    let response = get(&upstreams.proxy);
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(status(response).await, 200);
    assert!(!stuck.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_upload_waiting_for_a_shared_window_does_not_count_as_a_failure_of_the_address() {
    let settings = Upstream {
        max_http2_connections: 1.try_into().unwrap(),
        response_timeout: Time::seconds(3),
        retries: 0,
        ..Upstream::default()
    };
    let upstreams = Upstreams::http2(settings);
    let (stuck, mut peer) = stuck_upload(&upstreams).await;
    let upload = send(&upstreams.proxy, "POST", boxed(Full::from("body")));
    peer.request().await;
    assert_eq!(status(upload).await, 504);
    assert_eq!(status(stuck).await, 504);
    assert!(failures(&upstreams.proxy) <= 1, "the first one was handed over whole");
}

/// An upload that has used up the connection's window, which the server doesn't widen again.
async fn stuck_upload(upstreams: &Upstreams) -> (JoinHandle<Response<BoxBody>>, Peer) {
    let stuck = send(&upstreams.proxy, "POST", boxed(Full::from(vec![b'x'; 100_000])));
    let mut peer = upstreams.accept_http2(&[]).await;
    peer.request().await;
    let mut received = 0;
    while received < 65_535 {
        received += soon(peer.next()).await.unwrap().payload.len();
    }
    (stuck, peer)
}
