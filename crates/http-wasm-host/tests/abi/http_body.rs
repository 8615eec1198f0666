//! Bodies with the `http` crate's types: frames, errors, trailers, and chains of guests.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use http_wasm_host::{Body, BodyKind, BoxError, ErrorKind, HttpHost};

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, Probe, Wat, block_on, guest, pattern, proceeds, stops,
};

fn load(wat: Wat) -> Probe<HttpHost> {
    wat.pages(2).load_for()
}

fn post(body: Body) -> HttpHost {
    HttpHost::new(Request::post("/").body(body).unwrap(), None)
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Body::new(Full::new(bytes.into()))
}

type Frames = Vec<Result<Frame<Bytes>, BoxError>>;

/// A body of these frames, of unknown length.
fn streamed(frames: Frames) -> Body {
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

fn data(bytes: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(bytes.into()))
}

fn trailers(name: &'static str, value: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::trailers([(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect()))
}

fn collected(body: Body) -> (Bytes, Option<HeaderMap>) {
    let collected = block_on(body.collect()).unwrap();
    let trailers = collected.trailers().cloned();
    (collected.to_bytes(), trailers)
}

/// What the next handler gets.
fn handed_on(wat: Wat, host: HttpHost) -> Request<Body> {
    load(wat).next(host).host_mut().take_request(true)
}

/// What the client gets.
fn answered(wat: Wat, response: Response<Body>) -> Response<Body> {
    let probe = load(wat);
    let mut pinned = probe.next(post(Body::empty()));
    pinned.host_mut().set_response(response);
    block_on(pinned.handle_response()).unwrap().host.into_response()
}

#[test]
fn bodies_are_consumed_or_replayed_byte_for_byte() {
    let body = pattern(65_537);
    for (features, left) in [(0, &body[1000..]), (BUFFER_REQUEST, &body)] {
        let sent = handed_on(proceeds("(call $read 0 1000)").features(features), post(full(body.clone())));
        assert_eq!(sent.body().size_hint().exact(), Some(left.len() as u64));
        assert!(collected(sent.into_body()).0 == left);
    }
    let wat = guest().features(BUFFER_RESPONSE).on_response("(call $read_all 1 1000)");
    let response = answered(wat, Response::new(full(body.clone())));
    assert!(collected(response.into_body()).0 == body);
}

#[test]
fn a_written_body_has_an_exact_length() {
    let sent = handed_on(proceeds("(call $write_body 0 \"new\")"), post(streamed(vec![data("old")])));
    assert_eq!(sent.headers()["content-length"], "3");
    assert_eq!(sent.body().size_hint().exact(), Some(3));
    assert_eq!(collected(sent.into_body()).0, "new");
}

#[test]
fn an_untouched_body_is_passed_on_frame_by_frame() {
    let frames = vec![data("a"), data("bc"), trailers("t", "1")];
    let mut body = answered(guest().features(BUFFER_RESPONSE), Response::new(streamed(frames))).into_body();
    let mut sizes = Vec::new();
    while let Some(frame) = block_on(body.frame()) {
        sizes.push(frame.unwrap().into_data().map(|data| data.len()).ok());
    }
    assert_eq!(sizes, [Some(1), Some(2), None]);
}

#[test]
fn an_untouched_body_keeps_its_size_hint() {
    for (body, len) in [
        (full("abc"), Some(3)),
        (Body::from(Bytes::from("abc")), Some(3)),
        (Body::new(full("abc")), Some(3)),
        (Body::empty(), Some(0)),
        (Body::new(String::from("abc")), Some(3)),
        (streamed(vec![data("abc")]), None),
    ] {
        assert_eq!(body.size_hint().exact(), len);
        let response = answered(guest().features(BUFFER_RESPONSE), Response::new(body));
        assert_eq!(response.body().size_hint().exact(), len);
    }
}

#[test]
fn an_error_of_a_body_that_the_guest_reads_ends_the_call() {
    for read in ["(call $read 0 100)", "(call $read_all 0 1)", "(drop (call $get_header_names 2 BUF LIMIT))"]
    {
        let body = streamed(vec![data("abc"), Err("connection reset".into())]);
        let error = load(proceeds(read).features(BUFFER_REQUEST)).outcome(post(body)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Body(BodyKind::Request), "{read}");
        assert!(error.to_string().contains("connection reset"), "{error}");
    }
}

#[test]
fn an_error_of_a_response_that_the_guest_reads_ends_the_call() {
    let probe = load(guest().features(BUFFER_RESPONSE).on_response("(call $read 1 100)"));
    let mut pinned = probe.next(post(Body::empty()));
    let body = streamed(vec![data("abc"), Err("connection reset".into())]);
    pinned.host_mut().set_response(Response::new(body));
    let error = block_on(pinned.handle_response()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Body(BodyKind::Response));
    assert_eq!(error.function(), Some("read_body"));
    let stats = probe.stats();
    assert_eq!((stats.live, stats.dropped_cancelled, stats.dropped_failed), (0, 1, 0));
}

#[test]
fn an_error_right_after_what_the_guest_read_is_not_taken_for_the_end() {
    let frames = || vec![data("abc"), Err("connection reset".into())];
    // The next handler sees the error at the same position: a truncated body must not look complete.
    let outcome =
        load(proceeds("(call $read 0 3)").features(BUFFER_REQUEST)).outcome(post(streamed(frames())));
    match outcome {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Body(BodyKind::Request)),
        Ok(http_wasm_host::Outcome::Next(mut pinned)) => {
            let body = pinned.host_mut().take_request(true).into_body();
            assert!(block_on(body.collect()).is_err(), "the error is lost");
        }
        Ok(_) => panic!("the guest proceeds"),
    }
    let error = load(proceeds("(call $read 0 3) (call $read 0 3)")).outcome(post(streamed(frames())));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Body(BodyKind::Request));
}

#[test]
fn an_error_of_an_unread_body_passes_to_its_reader() {
    for read in ["", "(call $read 0 2)"] {
        let body = streamed(vec![data("abc"), data("def"), Err("connection reset".into())]);
        let sent = handed_on(proceeds(read).features(BUFFER_REQUEST), post(body));
        assert!(block_on(sent.into_body().collect()).is_err());
    }
}

#[test]
fn trailers_are_read_edited_and_passed_on() {
    let frames = || vec![data("abc"), trailers("t", "1")];
    let untouched =
        handed_on(proceeds("(call $read 0 1)").features(BUFFER_REQUEST), post(streamed(frames())));
    let (body, arrived) = collected(untouched.into_body());
    assert_eq!((&body[..], &arrived.unwrap()["t"]), (&b"abc"[..], &"1".parse().unwrap()));

    let edit = "(call $add_header_value 2 \"t\" \"2\") (call $set_header_value 2 \"u\" \"3\")";
    for calls in [edit.to_owned(), format!("(call $read 0 10) {edit}")] {
        let sent = handed_on(proceeds(&calls).features(BUFFER_REQUEST), post(streamed(frames())));
        assert_eq!(sent.body().size_hint().exact(), None, "a length leaves no room for trailers");
        let (body, sent) = collected(sent.into_body());
        let sent = sent.unwrap();
        assert_eq!(body, "abc");
        assert_eq!(sent.get_all("t").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(sent["u"], "3");
    }
}

#[test]
fn trailers_can_be_added_to_a_complete_body() {
    let wat = guest().features(BUFFER_RESPONSE).on_response("(call $set_header_value 3 \"x-sum\" \"1\")");
    let response =
        answered(wat, Response::builder().header("content-length", "3").body(full("abc")).unwrap());
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(response.headers()["trailer"], "x-sum");
    assert!(!response.body().is_end_stream());
    let (body, trailers) = collected(response.into_body());
    assert_eq!((&body[..], &trailers.unwrap()["x-sum"]), (&b"abc"[..], &"1".parse().unwrap()));
}

/// Sends a request through two guests, of which the first is outermost.
fn chained(first: Wat, second: Wat, body: Body) -> Request<Body> {
    let sent = handed_on(first, post(body));
    handed_on(second, HttpHost::new(sent, None))
}

#[test]
fn a_second_guest_sees_the_body_as_changed_by_the_first() {
    let copy =
        "(call $write_body 0 BUF (i32.wrap_i64 (call $read_body 0 BUF LIMIT))) (call $write_body 0 \"!\")";
    let sent = chained(proceeds(copy), proceeds(copy), full("abc"));
    assert_eq!(sent.headers()["content-length"], "5");
    assert_eq!(collected(sent.into_body()).0, "abc!!");
    let part = "(call $read 0 2)";
    let sent = chained(
        proceeds(part).features(BUFFER_REQUEST),
        proceeds(part),
        streamed(vec![data("abc"), data("def")]),
    );
    assert_eq!(collected(sent.into_body()).0, "cdef");
}

#[test]
fn edits_of_trailers_by_two_guests_add_up() {
    let edit = |value: &str| format!("(call $add_header_value 2 \"t\" \"{value}\")");
    for read in ["", "(call $read 0 2)", "(call $read 0 10)"] {
        for second in ["", "(call $read 0 2)", "(call $read 0 10)"] {
            let sent = chained(
                proceeds(&format!("{read} {}", edit("2"))).features(BUFFER_REQUEST),
                proceeds(&format!("{second} {}", edit("3"))).features(BUFFER_REQUEST),
                streamed(vec![data("abc"), data("def"), trailers("t", "1")]),
            );
            let (body, trailers) = collected(sent.into_body());
            assert_eq!(body, "abcdef");
            let trailers = trailers.unwrap();
            let values: Vec<_> = trailers.get_all("t").iter().collect();
            assert_eq!(values, ["1", "2", "3"], "{read:?} then {second:?}");
        }
    }
}

#[test]
fn edits_of_trailers_survive_a_second_guest_that_only_reads() {
    for second in ["", "(call $read 0 2)", "(call $read 0 10)"] {
        let sent = chained(
            proceeds("(call $set_header_value 2 \"t\" \"1\")"),
            proceeds(second).features(BUFFER_REQUEST),
            full("abcdef"),
        );
        let (body, trailers) = collected(sent.into_body());
        assert_eq!(body, "abcdef");
        assert_eq!(trailers.unwrap_or_default().get("t").unwrap(), "1", "{second:?}");
    }
}

/// A body with one frame that counts how often it is polled.
struct Counted(std::sync::Arc<std::sync::atomic::AtomicUsize>, bool);

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let first = !std::mem::replace(&mut self.1, true);
        Poll::Ready(first.then(|| Ok(Frame::data(Bytes::from_static(b"abc")))))
    }
}

#[test]
fn a_body_is_not_polled_if_the_guest_does_not_read_it() {
    let polls = std::sync::Arc::default();
    let body = Body::new(Counted(std::sync::Arc::clone(&polls), false));
    let wat = guest().features(BUFFER_RESPONSE).on_response("(call $set_header_value 1 \"a\" \"b\")");
    let response = answered(wat, Response::new(body));
    assert_eq!(polls.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert_eq!(collected(response.into_body()).0, "abc");
}

#[test]
fn a_guests_own_response_has_a_complete_body() {
    let probe = load(stops("(call $set_status_code 403) (call $write_body 1 \"no\")"));
    let response = probe.respond(post(full("abc"))).into_response();
    assert_eq!(response.status(), 403);
    // The server derives the length from the body.
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(response.body().size_hint().exact(), Some(2));
    assert_eq!(collected(response.into_body()).0, "no");
}

#[test]
fn bytes_read_from_a_response_to_head_count_for_its_length() {
    let head = || Request::head("/").body(Body::empty()).unwrap();
    let reads = ["", "(drop (call $read_body 1 BUF 2))", "(call $read_all 1 1000)"];
    for (read, pieces) in reads.into_iter().flat_map(|read| [(read, false), (read, true)]) {
        // The guest turns the request into a GET, so that the next handler sends a body.
        let wat = proceeds("(call $set_method \"GET\")").features(BUFFER_RESPONSE).on_response(read);
        let probe = load(wat);
        let mut pinned = probe.next(HttpHost::new(head(), None));
        let body = if pieces { streamed(vec![data("twelve "), data("bytes")]) } else { full("twelve bytes") };
        pinned.host_mut().set_response(Response::new(body));
        let response = block_on(pinned.handle_response()).unwrap().host.into_response();
        if !pieces {
            assert_eq!(response.body().size_hint().exact(), Some(12), "{read}");
        }
        assert_eq!(collected(response.into_body()).0, "twelve bytes", "{read}");
    }
}

#[test]
fn the_framing_of_a_response_lost_to_an_error_is_discarded() {
    let wat = guest().features(BUFFER_RESPONSE).on_response("(call $write_body 1 \"abc\")");
    let probe = load(wat);
    let mut pinned = probe.next(post(Body::empty()));
    let lost = Response::builder().header("content-length", "12").body(full("twelve bytes")).unwrap();
    pinned.host_mut().set_response(lost);
    let response = block_on(pinned.handle_error()).unwrap().into_response();
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(collected(response.into_body()).0, "abc");
}
