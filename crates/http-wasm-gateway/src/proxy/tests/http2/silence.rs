//! PINGs, and connections that are idle or draining.

use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::time::Instant;

use super::super::peer::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, OK, PING, RST_STREAM, Upstreams};
use super::super::soon;
use super::{get, settle, status};
use crate::config::{Time, TimeOrOff, Upstream};

#[tokio::test(start_paused = true)]
async fn a_silent_stream_stays_open_while_pings_are_answered() {
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
    let silent = Instant::now();
    assert!(reading.await.unwrap().is_err(), "the stream ends with its dead connection");
    let _ = soon(peer.next()).await;
    assert!(silent.elapsed() <= Duration::from_secs(310 + 20 + 1), "{:?}", silent.elapsed());
}

#[tokio::test(start_paused = true)]
async fn pings_can_be_disabled() {
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
async fn a_connection_without_streams_is_closed_at_the_idle_timeout() {
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
    let over = Instant::now();
    let _ = peer.next().await;
    let idle = over.elapsed().as_millis();
    assert!((29_000..=31_000).contains(&idle), "{idle} ms");
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_pinged_before_reuse_after_a_request_timed_out_on_it() {
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
    // The server was only slow: the reset of the timed-out stream arrives, then a single PING, which the server
    // answers.
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

#[tokio::test(start_paused = true)]
async fn a_draining_connection_with_silent_streams_is_closed() {
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
