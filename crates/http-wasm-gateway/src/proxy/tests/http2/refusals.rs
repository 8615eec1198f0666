//! Streams and connections that the server refuses, and which requests are retried.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};

use super::super::peer::{
    DATA, END_HEADERS, GOAWAY, HEADERS, MAX_CONCURRENT_STREAMS, NO_ERROR, OK, REFUSED_STREAM, Upstreams,
};
use super::super::soon;
use super::{failures, get, send, settle, status};
use crate::body::{boxed, empty};
use crate::config::Upstream;

#[tokio::test(start_paused = true)]
async fn retries_are_bounded_if_the_server_closes_each_connection_at_once() {
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
async fn a_refused_stream_is_retried_on_another_connection_for_any_method() {
    for method in ["GET", "POST", "PATCH"] {
        // Even without retries, there is one further attempt.
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

#[tokio::test(start_paused = true)]
async fn a_request_that_the_server_keeps_refusing_is_a_502() {
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
async fn a_refusal_after_the_response_started_is_neither_retried_nor_forwarded() {
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
async fn streams_above_the_goaway_id_are_retried_and_others_only_if_idempotent() {
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
async fn after_goaway_a_connection_gets_no_new_streams_and_finishes_its_open_ones() {
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
