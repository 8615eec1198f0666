//! Decoded bodies that are streamed, held, or too large.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use http_wasm_host::{Body, BodyKind, BoxError, Engine, ErrorKind, HttpHost, InMemoryHost, Limits, Outcome};

use crate::support::{
    BUFFER_REQUEST, ByHand, Probe, block_on, coded_post, content, gunzip, gzip, more, proceeds, stops, zstd,
};

#[test]
fn content_is_read_as_it_arrives() {
    let probe = stops("(call $read 0 4) (call $read 0 4)").decodes().load();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    let mut host = InMemoryHost::new("POST", "/");
    host.request.headers.set(b"content-encoding", b"gzip");
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    call.waits();
    // Each piece is flushed, so the second read ends with the second piece, before the end of the body.
    for piece in ["abcd", "efgh"] {
        encoder.write_all(piece.as_bytes()).unwrap();
        encoder.flush().unwrap();
        call.waits();
        feed.push(std::mem::take(encoder.get_mut()));
    }
    let _host = call.ends();
    assert_eq!(probe.notes(), [more("abcd"), more("efgh")]);
}

#[test]
fn bombs_and_content_that_is_too_large_to_keep_are_refused() {
    let reads = |limits: Limits| {
        proceeds("(call $read_all 0 4000)").features(BUFFER_REQUEST).pages(2).limits(limits).decodes().load()
    };
    let bomb = gzip(&vec![0; 4 << 20]);
    let error = reads(Limits::default()).error(coded_post("gzip", bomb));
    assert_eq!(error.kind(), ErrorKind::BodyTooLarge(BodyKind::Request), "{error}");
    assert!(error.to_string().contains("200 times"), "{error}");
    // The encoded form is far below the limit.
    let limits = Limits { replay_bytes: 500_000, ..Limits::default() };
    let content = content();
    assert!(content.len() > 500_000);
    let error = reads(limits).error(coded_post("gzip", gzip(&content)));
    assert_eq!(error.kind(), ErrorKind::BodyTooLarge(BodyKind::Request), "{error}");
    // Content that fits is refused as well if its encoded form doesn't.
    let limits = Limits { replay_bytes: 100, ..Limits::default() };
    let error = reads(limits).error(coded_post("gzip", [gzip(b"text"), vec![0; 200]].concat()));
    assert_eq!(error.kind(), ErrorKind::BodyTooLarge(BodyKind::Request), "{error}");
}

#[test]
fn held_body_memory_includes_the_coded_form_and_the_decoder() {
    let engine = Engine::builder().body_memory_budget(64 << 20).build().unwrap();
    let wat = proceeds("(call $read_all 0 4000)").features(BUFFER_REQUEST).pages(2).decodes();
    let probe = Probe::new(wat.builder(&engine).load(wat.text().as_bytes()).unwrap());
    let content = content();
    let body = zstd(&content);
    let mut host = InMemoryHost::new("POST", "/");
    host.request.headers.set(b"content-encoding", b"zstd");
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    call.waits();
    feed.push(body[..body.len() - 1].to_vec());
    call.waits();
    let held = engine.body_budget().memory().held;
    assert!(held > content.len() + body.len(), "{held}");
    feed.push(body[body.len() - 1..].to_vec());
    feed.finish(None);
    let Ok(Outcome::Next(mut pinned)) = call.ends() else { panic!("the guest proceeds") };
    // Only what will be sent is still held.
    let held = engine.body_budget().memory().held;
    assert!(held < body.len() + 70_000, "{held}");
    assert!(pinned.host_mut().request.take_body().0 == body);
}

#[test]
fn a_bomb_of_any_ratio_takes_no_more_memory_than_the_replay_limit() {
    let engine = Engine::builder().body_memory_budget(64 << 20).build().unwrap();
    let limits = Limits { decoded_ratio: u32::MAX, replay_bytes: 2 << 20, ..Limits::default() };
    let wat = proceeds("(call $read_all 0 4000)").features(BUFFER_REQUEST).pages(2).limits(limits).decodes();
    let probe = Probe::new(wat.builder(&engine).load(wat.text().as_bytes()).unwrap());
    let mut host = InMemoryHost::new("POST", "/");
    host.request.headers.set(b"content-encoding", b"gzip");
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    // One megabyte of content, and the memory for decoding it.
    let bomb = gzip(&vec![0; 16 << 20]);
    feed.push(bomb[..bomb.len() / 16].to_vec());
    call.waits();
    let held = engine.body_budget().memory().held;
    assert!((1_000_000..1_500_000).contains(&held), "{held}");
    feed.push(bomb[bomb.len() / 16..].to_vec());
    let error = call.ends().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::BodyTooLarge(BodyKind::Request), "{error}");
    drop(call);
    assert_eq!(engine.body_budget().memory().held, 0);
}

/// A body of the `http` crate's types.
fn streamed(body: &[u8], trailers: Option<HeaderMap>) -> Body {
    let pieces = body.chunks(999).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
    let frames: Vec<Result<_, BoxError>> =
        pieces.chain(trailers.map(|trailers| Ok(Frame::trailers(trailers)))).collect();
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

#[test]
fn http_bodies_are_decoded_and_encoded_while_they_are_sent() {
    let content = content();
    let trailers: HeaderMap = [("x-sum".parse().unwrap(), "1".parse().unwrap())].into_iter().collect();
    let request = |body: &[u8]| {
        let request = Request::post("/").header("content-encoding", "zstd").header("accept-encoding", "gzip");
        HttpHost::new(request.body(streamed(body, Some(trailers.clone()))).unwrap(), None)
    };
    let coded = zstd(&content);
    // The rest is forwarded decoded.
    let probe: Probe<HttpHost> = proceeds("(call $read 0 6)").decodes().load_for();
    let sent = probe.next(request(&coded)).host_mut().take_request(false);
    assert!(!sent.headers().contains_key("content-encoding"));
    let sent = block_on(sent.into_body().collect()).unwrap();
    assert_eq!(sent.trailers(), Some(&trailers));
    assert!(sent.to_bytes() == content[6..]);
    // What the guest has read is forwarded unchanged, and so is the response body, which follows what the guest wrote
    // first.
    let probe: Probe<HttpHost> = proceeds(r#"(call $read_all 0 5000) (call $write_body 1 "first ")"#)
        .features(BUFFER_REQUEST)
        .pages(2)
        .decodes()
        .load_for();
    let mut pinned = probe.next(request(&coded));
    let sent = pinned.host_mut().take_request(false);
    assert_eq!(sent.headers()["content-encoding"], "zstd");
    assert!(block_on(sent.into_body().collect()).unwrap().to_bytes() == coded);
    let response = Response::builder().header("content-encoding", "zstd");
    pinned.host_mut().set_response(response.body(streamed(&coded, Some(trailers.clone()))).unwrap());
    let response = block_on(pinned.handle_response()).unwrap().host.into_response();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let received = block_on(response.into_body().collect()).unwrap();
    assert_eq!(received.trailers(), Some(&trailers));
    assert!(gunzip(&received.to_bytes()) == [&b"first "[..], &content].concat());
}

#[test]
fn a_body_that_breaks_off_while_its_rest_is_decoded_is_an_error() {
    let coded = gzip(&content());
    let probe: Probe<HttpHost> = proceeds("(call $read 0 6)").decodes().load_for();
    let request = Request::post("/").header("content-encoding", "gzip");
    let body = streamed(&coded[..coded.len() - 9], None);
    let sent = probe.next(HttpHost::new(request.body(body).unwrap(), None)).host_mut().take_request(false);
    let error = block_on(sent.into_body().collect()).unwrap_err();
    assert_eq!(error.to_string(), "gzip data is truncated");
}
