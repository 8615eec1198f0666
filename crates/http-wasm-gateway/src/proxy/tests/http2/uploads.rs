//! Request bodies, and how their end relates to the end of the response.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Channel};

use super::super::peer::{
    CANCEL, DATA, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, OK, RST_STREAM, Upstreams,
};
use super::super::soon;
use super::{send, settle, status};
use crate::body::{BoxError, boxed};
use crate::config::Upstream;

#[tokio::test(start_paused = true)]
async fn a_reset_with_no_error_is_a_clean_end_only_after_a_complete_response() {
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
async fn an_upload_continues_during_the_response_and_ends_with_it() {
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
async fn empty_data_frames_are_not_sent() {
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
