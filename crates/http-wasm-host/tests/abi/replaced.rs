//! Trailers of bodies that a guest replaces without reading them to the end, and the `trailer` header.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response, Version};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use http_wasm_host::{Body, BoxError, HttpHost, InMemoryHost, Limits, Message};

use crate::support::{
    BUFFER_RESPONSE, Wat, block_on, feed, fields, framing, get, guest, header, length, proceeds,
};

type Frames = Vec<Result<Frame<Bytes>, BoxError>>;

fn data(bytes: impl Into<Bytes>) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(bytes.into()))
}

fn trailers() -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::trailers([("x-sum".parse().unwrap(), "1".parse().unwrap())].into_iter().collect()))
}

/// A body that has a trailer.
fn body() -> Frames {
    vec![data("abc"), data("def"), trailers()]
}

fn streamed(frames: Frames) -> Body {
    Body::new(StreamBody::new(stream::iter(frames)))
}

/// A body that doesn't end.
fn endless(frames: Frames) -> Body {
    Body::new(StreamBody::new(stream::iter(frames).chain(stream::pending())))
}

const ANNOUNCED: (&str, &str) = ("trailer", "X-Sum");
const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

/// What the client gets of a response with this header and body.
fn answered(wat: Wat, (name, value): (&str, &str), body: Body) -> Response<Body> {
    let probe = wat.pages(2).load_for();
    let mut pinned = probe.next(HttpHost::new(Request::new(Body::empty()), None));
    let response = Response::builder().header(name, value).body(body).unwrap();
    pinned.host_mut().set_response(response);
    block_on(pinned.handle_response()).unwrap().host.into_response()
}

/// A guest that makes these calls in `handle_response`.
fn responds(calls: &str) -> Wat {
    guest().features(BUFFER_RESPONSE).on_response(calls)
}

fn writes() -> Wat {
    responds("(call $write_body 1 \"new\")")
}

fn collected(body: Body) -> Result<(Bytes, Option<HeaderMap>), BoxError> {
    let collected = block_on(body.collect())?;
    let trailers = collected.trailers().cloned();
    Ok((collected.to_bytes(), trailers))
}

#[track_caller]
fn check_kept(body: Body, bytes: &str) {
    assert_eq!(body.size_hint().exact(), None, "a length leaves no place for trailers");
    assert!(!body.is_end_stream());
    let (sent, trailers) = collected(body).unwrap();
    assert_eq!(sent, bytes);
    assert_eq!(trailers.unwrap()["x-sum"], "1");
}

#[test]
fn announced_and_grpc_trailers_follow_a_response_body_replaced_unread() {
    for head in
        [ANNOUNCED, GRPC, ("Content-Type", "APPLICATION/GRPC"), ("content-type", "application/grpc;x")]
    {
        for calls in [
            "(call $write_body 1 \"new\")",
            "(call $read 1 2) (call $write_body 1 \"new\")",
            "(call $write_body 1 \"new\") (call $read 1 4)",
        ] {
            let response = answered(responds(calls), head, streamed(body()));
            assert!(!response.headers().contains_key("content-length"), "{head:?} {calls}");
            check_kept(response.into_body(), "new");
        }
    }
}

#[test]
fn announced_trailers_follow_a_response_body_that_a_guest_empties() {
    let wat = responds("(call $set_header_value 1 \"content-length\" \"0\")");
    let response = answered(wat, ANNOUNCED, streamed(body()));
    assert!(!response.headers().contains_key("content-length"));
    check_kept(response.into_body(), "");
}

#[test]
fn announced_and_grpc_trailers_follow_a_request_body_replaced_unread() {
    for (name, value) in [ANNOUNCED, GRPC] {
        let request = Request::post("/").header(name, value).body(streamed(body())).unwrap();
        let probe = proceeds("(call $write_body 0 \"new\")").pages(2).load_for();
        let request = probe.next(HttpHost::new(request, None)).host_mut().take_request(true);
        assert!(!request.headers().contains_key("content-length"));
        check_kept(request.into_body(), "new");
    }
}

#[test]
fn other_trailers_are_dropped_with_a_body_replaced_unread() {
    for head in
        [("x", "y"), ("content-type", "application/grpc-web+proto"), ("content-type", "application/g")]
    {
        let response = answered(writes(), head, streamed(body()));
        assert_eq!(response.headers()["content-length"], "3");
        let (sent, trailers) = collected(response.into_body()).unwrap();
        assert_eq!((&sent[..], trailers), (&b"new"[..], None), "{head:?}");
    }
}

#[test]
fn trailers_that_the_guest_has_read_follow_the_body_it_writes() {
    let wat = responds("(call $read 1 100) (call $write_body 1 \"new\")");
    let response = answered(wat, ("x", "y"), streamed(body()));
    assert_eq!(response.headers()["trailer"], "x-sum");
    check_kept(response.into_body(), "new");
}

#[test]
fn trailer_edits_on_a_replaced_body_apply_to_the_trailers_that_arrive() {
    let wat = responds(
        "(call $write_body 1 \"new\") (call $add_header_value 3 \"x-sum\" \"2\")
         (call $set_header_value 3 \"x-new\" \"3\")",
    );
    let response = answered(wat, ANNOUNCED, streamed(body()));
    assert_eq!(response.headers()["trailer"], "x-sum, x-new");
    let (_, trailers) = collected(response.into_body()).unwrap();
    let trailers = trailers.unwrap();
    assert_eq!(trailers.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(trailers["x-new"], "3");
}

#[test]
fn a_replacement_body_is_sent_before_the_end_of_the_original_is_known() {
    let probe = writes().load();
    let mut pinned = probe.next(get());
    pinned.host_mut().response.headers.add(b"trailer", b"x-sum");
    let feed = pinned.host_mut().response.feed_body();
    feed.push("abc");
    let mut response = block_on(pinned.handle_response()).unwrap().host.response;
    assert_eq!(framing(&response), [None, None, Some("x-sum".into())]);
    assert_eq!(response.take_body(), (b"new".into(), fields(&[])));
    feed.push("def");
    assert_eq!(response.take_body(), (b"".into(), fields(&[])));
    feed.finish(Some(fields(&[("x-sum", "1")])));
    assert_eq!(response.take_body(), (b"".into(), fields(&[("x-sum", "1")])));
}

#[test]
fn a_replaced_body_over_the_replay_cap_is_broken_off_instead_of_losing_its_trailers() {
    let limits = Limits { replay_bytes: 5, ..Limits::default() };
    let empty: Frames = (0..6).map(|_| data("")).chain([trailers()]).collect();
    for frames in [body(), empty] {
        let response = answered(writes().limits(limits.clone()), ANNOUNCED, streamed(frames));
        let error = collected(response.into_body()).unwrap_err().to_string();
        assert!(error.contains("larger than 5 bytes"), "{error}");
    }
    let limits = Limits { replay_bytes: 6, ..Limits::default() };
    check_kept(answered(writes().limits(limits), ANNOUNCED, streamed(body())).into_body(), "new");
}

#[test]
fn a_replaced_body_that_does_not_end_in_time_is_broken_off() {
    let limits = Limits { total: Duration::from_millis(20), ..Limits::default() };
    let response = answered(writes().limits(limits), ANNOUNCED, endless(vec![data("abc")]));
    let error = collected(response.into_body()).unwrap_err().to_string();
    assert!(error.contains("has not ended after 20ms"), "{error}");
}

#[test]
fn an_error_of_a_replaced_body_breaks_off_the_replacement() {
    let frames = vec![data("abc"), Err("connection reset".into())];
    let response = answered(writes(), GRPC, streamed(frames));
    let error = collected(response.into_body()).unwrap_err().to_string();
    assert!(error.contains("connection reset"), "{error}");
}

#[test]
fn a_large_replaced_body_that_is_complete_is_discarded() {
    let frames = (0..1000).map(|_| data("abc")).chain([trailers()]).collect();
    check_kept(answered(writes(), GRPC, streamed(frames)).into_body(), "new");
}

#[test]
fn a_replacement_is_sent_without_trailers_if_none_arrive() {
    let response = answered(writes(), GRPC, streamed(vec![data("abc")]));
    let (sent, trailers) = collected(response.into_body()).unwrap();
    assert_eq!((&sent[..], trailers), (&b"new"[..], None));
}

#[test]
fn trailers_are_kept_when_several_guests_replace_the_body() {
    let first = answered(writes(), ANNOUNCED, streamed(body()));
    let then = responds("(call $write_body 1 \"newer\")");
    check_kept(answered(then, ANNOUNCED, first.into_body()).into_body(), "newer");
}

#[test]
fn announced_trailers_are_dropped_from_an_http_1_0_response() {
    let probe = writes().load_for();
    let mut request = Request::new(Body::empty());
    *request.version_mut() = Version::HTTP_10;
    let mut pinned = probe.next(HttpHost::new(request, None));
    let response = Response::builder().header("trailer", "x-sum").body(endless(vec![])).unwrap();
    pinned.host_mut().set_response(response);
    let response = block_on(pinned.handle_response()).unwrap().host.into_response();
    assert!(!response.headers().contains_key("trailer"));
    assert_eq!(response.headers()["content-length"], "3");
    assert_eq!(collected(response.into_body()).unwrap().0, "new");
}

/// A response `abc` with the trailers a and b, both announced.
fn announces(next: &mut InMemoryHost) {
    next.response.headers.add(b"trailer", b"A, b");
    feed(&mut next.response, [&b"abc"[..]].into_iter(), Some(fields(&[("a", "1"), ("b", "2")])));
}

fn announced(message: &Message) -> Option<String> {
    header(message, "trailer")
}

#[test]
fn the_trailer_header_names_only_what_will_be_sent() {
    for (calls, names) in [
        ("", Some("A, b")),
        ("(call $read 1 1)", Some("A, b")),
        ("(call $read 1 10)", Some("A, b")),
        ("(call $remove_header 3 \"A\")", Some("b")),
        ("(call $read 1 10) (call $remove_header 3 \"a\")", Some("b")),
        ("(call $remove_header 3 \"a\") (call $set_header_value 3 \"A\" \"2\")", Some("A, b")),
        ("(call $remove_header 3 \"a\") (call $remove_header 3 \"b\")", None),
        ("(call $write_body 1 \"new\")", Some("A, b")),
        ("(call $write_body 1 \"new\") (call $remove_header 3 \"b\")", Some("a")),
        ("(call $set_header_value 3 \"c\" \"3\")", Some("a, b, c")),
    ] {
        let mut host = responds(calls).load().run(get(), announces);
        let names = names.map(str::to_owned);
        assert_eq!(announced(&host.response), names, "{calls}");
        let mut sent: Vec<_> =
            host.response.take_body().1.names().map(|name| String::from_utf8(name.into()).unwrap()).collect();
        sent.sort();
        assert_eq!(sent.join(", "), names.unwrap_or_default().to_lowercase(), "{calls}");
    }
}

#[test]
fn announced_trailers_known_to_be_absent_are_not_named() {
    for calls in ["(call $read 1 10)", "(call $read 1 10) (call $write_body 1 \"new\")"] {
        let host = responds(calls).load().run(get(), |next| {
            next.response.headers.add(b"trailer", b"a");
            feed(&mut next.response, [&b"abc"[..]].into_iter(), None);
        });
        assert_eq!(announced(&host.response), None, "{calls}");
    }
}

#[test]
fn a_body_written_to_a_bodyless_response_announces_no_trailers() {
    let wat = responds("(call $set_status_code 200) (call $write_body 1 \"new\")");
    let host = wat.load().run(get(), |next| {
        next.status = 204;
        next.response.headers.add(b"trailer", b"a");
    });
    assert_eq!(framing(&host.response), length(3));
}
