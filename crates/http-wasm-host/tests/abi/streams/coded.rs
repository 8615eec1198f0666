//! Messages with a content coding that are sent while the guest is writing them.

use std::io::Write as _;
use std::task::Poll;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_wasm_host::{Frame, Handled};

use super::open::{
    MARKS_REQUEST, MARKS_RESPONSE, OpenMessage as _, OpenResponse, open_request, streams_request,
    streams_response,
};
use crate::support::{BUFFER_RESPONSE, ByHand, block_on, content, field, get, gunzip, gzip};

#[test]
fn a_coded_body_is_decoded_and_writes_are_sent_without_a_coding() {
    let copy = MARKS_REQUEST.replace(r#"(call $write_body 0 "!")"#, "");
    let probe = streams_request(&copy).features(BUFFER_RESPONSE).decodes().load();
    let (content, coded) = (content(), gzip(&content()));
    for size in [7, 999, 65_537] {
        let mut host = get();
        host.request.headers.set(b"content-encoding", b"gzip");
        host.request.headers.set(b"content-digest", b"sha-256=:x:");
        host.request.headers.set(b"accept-encoding", b"gzip, exotic");
        let client = host.request.feed_body();
        coded.chunks(size).for_each(|piece| client.push(piece.to_vec()));
        client.finish(None);
        let mut open = open_request(&probe, host, client);
        assert_eq!(field(&open.next.request, "content-encoding"), None);
        assert_eq!(field(&open.next.request, "content-digest"), None);
        assert_eq!(field(&open.next.request, "accept-encoding").as_deref(), Some("gzip"));
        assert!(open.rest().unwrap().0 == content, "pieces of {size}");
        drop(open.passed());
    }
}

#[test]
fn coded_events_are_decoded_rewritten_and_encoded_one_by_one() {
    let probe = streams_response(MARKS_RESPONSE).decodes().load();
    let mut host = get();
    host.request.headers.set(b"accept-encoding", b"gzip");
    let mut upstream = GzEncoder::new(Vec::new(), Compression::new(6));
    let mut event = |text: &str| {
        upstream.write_all(text.as_bytes()).unwrap();
        upstream.flush().unwrap();
        std::mem::take(upstream.get_mut())
    };
    let mut pinned = probe.next(host);
    let feed = pinned.host_mut().response.feed_body();
    pinned.host_mut().response.headers.set(b"content-encoding", b"gzip");
    feed.push(event("one"));
    let Handled { host, .. } = ByHand::new(pinned.handle_response()).ends().unwrap();
    assert_eq!(field(&host.response, "content-encoding").as_deref(), Some("gzip"));
    let mut open = OpenResponse { host, upstream: feed };
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    let mut received = |open: &mut OpenResponse| {
        while let Poll::Ready(Some(Ok(Frame::Data(data)))) = open.poll() {
            decoder.write_all(&data).unwrap();
        }
        decoder.flush().unwrap();
        String::from_utf8(std::mem::take(decoder.get_mut())).unwrap()
    };
    assert_eq!(received(&mut open), "one!");
    open.upstream.push(event("two"));
    assert_eq!(received(&mut open), "two!");
}

#[test]
fn a_coded_body_in_any_pieces_gives_the_same_content() {
    let copy = MARKS_RESPONSE.replace(r#"(call $write_body 1 "!")"#, "");
    let probe = streams_response(&copy).decodes().load();
    let (content, coded) = (content(), gzip(&content()));
    for size in [1, 7, 999, 65_537] {
        let mut host = get();
        host.request.headers.set(b"accept-encoding", b"gzip");
        let mut pinned = probe.next(host);
        let feed = pinned.host_mut().response.feed_body();
        pinned.host_mut().response.headers.set(b"content-encoding", b"gzip");
        coded.chunks(size).for_each(|piece| feed.push(piece.to_vec()));
        feed.finish(None);
        let Handled { host, .. } = block_on(pinned.handle_response()).unwrap();
        let (received, _) = OpenResponse { host, upstream: feed }.rest().unwrap();
        assert!(gunzip(&received) == content, "pieces of {size}");
    }
}
