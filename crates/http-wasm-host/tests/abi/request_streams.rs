//! Requests that are sent while the guest is writing them.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use http_wasm_host::{
    BodyKind, BoxError, Detachable, Error, ErrorKind, Feed, Fields, Frame, InMemoryHost, Limits, LoadError,
    LocalHost as _, Outcome, Pinned, RequestStream, Stream,
};

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, ByHand, Probe, Wat, block_on, content, eof, field, fields, framing, get,
    gzip, header, more, number, proceeds, stops,
};

/// Writes what it reads, with an exclamation mark for each read.
const MARKS: &str = r#"(local $r i64)
    (loop $next
      (local.set $r (call $read_body 0 BUF LIMIT))
      (if (i32.wrap_i64 (local.get $r)) (then
        (call $write_body 0 BUF (i32.wrap_i64 (local.get $r)))
        (call $write_body 0 "!")))
      (br_if $next (i64.eqz (i64.shr_u (local.get $r) (i64.const 32)))))"#;

fn streams(on_request: &str) -> Wat {
    proceeds(on_request).streams_as(Stream::Request)
}

/// A request that a guest has begun to write.
struct Begun {
    /// `None` once the guest has returned.
    guest: Option<RequestStream<InMemoryHost>>,
    ended: Option<Result<Outcome<InMemoryHost>, Error>>,
    /// What the next handler receives.
    next: InMemoryHost,
    client: Feed,
}

fn text_of(frame: Option<Result<Frame, BoxError>>) -> String {
    match frame {
        Some(Ok(Frame::Data(data))) => String::from_utf8(data.to_vec()).unwrap(),
        other => panic!("the body should go on: {other:?}"),
    }
}

/// Sends a request that begins with `first` to the guest, which begins to write.
fn begin(probe: &Probe<InMemoryHost>, mut host: InMemoryHost, first: &str) -> Begun {
    let client = host.request.feed_body();
    client.push(first.to_owned());
    let outcome = ByHand::new(probe.0.handle_request(host)).ends().unwrap();
    let Outcome::Streams(mut guest) = outcome else { panic!("it should have begun to write: {outcome:?}") };
    let next = std::mem::replace(guest.host_mut(), get());
    Begun { guest: Some(guest), ended: None, next, client }
}

impl Begun {
    fn run_guest(&mut self) {
        if let Some(guest) = &mut self.guest
            && let Poll::Ready(ended) = ByHand::new(guest).poll()
        {
            (self.ended, self.guest) = (Some(ended), None);
        }
    }

    /// Polls the next handler's body, and lets the guest react.
    fn poll(&mut self) -> Poll<Option<Result<Frame, BoxError>>> {
        if let ready @ Poll::Ready(_) = self.poll_body() {
            return ready;
        }
        self.run_guest();
        self.poll_body()
    }

    fn poll_body(&mut self) -> Poll<Option<Result<Frame, BoxError>>> {
        ByHand::new(poll_fn(|cx| self.next.poll_body(BodyKind::Request, cx))).poll()
    }

    /// Everything that the next handler receives now.
    fn read(&mut self) -> String {
        let mut all = String::new();
        while let Poll::Ready(frame) = self.poll() {
            all += &text_of(frame);
        }
        all
    }

    /// The next piece.
    fn piece(&mut self) -> String {
        match self.poll() {
            Poll::Ready(frame) => text_of(frame),
            Poll::Pending => panic!("there should be a piece"),
        }
    }

    /// The rest of the body, and its trailers.
    fn rest(&mut self) -> Result<(Vec<u8>, Fields), BoxError> {
        let (mut all, mut trailers) = (Vec::new(), Fields::default());
        loop {
            match self.poll() {
                Poll::Ready(None) => return Ok((all, trailers)),
                Poll::Ready(Some(Ok(Frame::Data(data)))) => all.extend_from_slice(&data),
                Poll::Ready(Some(Ok(Frame::Trailers(fields)))) => trailers = fields,
                Poll::Ready(Some(Err(error))) => return Err(error),
                Poll::Pending => panic!("the body should have ended"),
            }
        }
    }

    /// The guest's final decision.
    fn end(mut self) -> Result<Outcome<InMemoryHost>, Error> {
        self.run_guest();
        self.ended.expect("the guest should have returned")
    }

    fn passed(self) -> Pinned<InMemoryHost> {
        match self.end() {
            Ok(Outcome::Next(pinned)) => pinned,
            other => panic!("the guest should have proceeded: {other:?}"),
        }
    }
}

#[test]
fn writes_reach_the_next_handler_while_the_guest_is_still_running() {
    let probe =
        streams(&MARKS.replacen("(loop", r#"(call $set_header_value 0 "x-seen" "yes") (loop"#, 1)).load();
    let mut host = InMemoryHost::new("POST", "/upload");
    host.request.headers.set(b"content-length", b"6");
    let mut begun = begin(&probe, host, "one");
    assert_eq!((&begun.next.method[..], &begun.next.uri[..]), (&b"POST"[..], &b"/upload"[..]));
    assert_eq!(header(&begun.next.request, "x-seen").as_deref(), Some("yes"));
    assert_eq!(framing(&begun.next.request)[0], None);
    assert_eq!(begun.read(), "one!");
    assert_eq!((probe.stats().streaming, probe.stats().idle), (1, 0));
    begun.client.push("two");
    assert_eq!(begun.read(), "two!");
    assert_eq!(begun.read(), "");
    begun.client.finish(None);
    assert_eq!(begun.rest().unwrap().0, b"");
    let mut pinned = begun.passed();
    assert_eq!(probe.stats().streaming, 0);
    pinned.host_mut().status = 201;
    assert_eq!(block_on(pinned.handle_response()).unwrap().host.status, 201);
    let stats = probe.stats();
    assert_eq!((stats.idle, stats.live), (1, 1), "the instance is free again");
}

#[test]
fn guest_and_next_handler_wake_each_other() {
    let probe = streams(MARKS).load();
    let Begun { guest, mut next, client, .. } = begin(&probe, get(), "one");
    let mut guest = ByHand::new(guest.unwrap());
    guest.waits();
    let mut body = ByHand::new(poll_fn(|cx| next.poll_body(BodyKind::Request, cx)));
    assert!(matches!(body.poll(), Poll::Ready(Some(Ok(Frame::Data(data)))) if data == "one"));
    assert_eq!(guest.wakes(), 0);
    body.waits();
    assert_eq!(guest.wakes(), 1, "the next handler asks for more");
    body.waits();
    assert_eq!(guest.wakes(), 1, "the guest has been woken");
    guest.waits();
    assert_eq!(body.wakes(), 1, "there is more");
    assert!(matches!(body.ends(), Some(Ok(Frame::Data(data))) if data == "!"));
    drop(client);
}

#[test]
fn a_write_waits_for_the_next_handler_and_is_held_piece_by_piece() {
    let probe = streams("(call $write_body 0 0 1000000) (call $note 1)").pages(16).load();
    let mut begun = begin(&probe, get(), "");
    for piece in 0..16 {
        begun.run_guest();
        let Poll::Ready(Some(Ok(Frame::Data(data)))) = begun.poll() else {
            panic!("piece {piece} is missing")
        };
        assert_eq!(data.len(), (1_000_000 - piece * 65_536).min(65_536));
        assert!(begun.ended.is_none(), "the last piece may not have been received yet");
    }
    assert!(matches!(begun.poll(), Poll::Ready(None)));
    drop(begun.passed());
}

#[test]
fn a_read_returns_as_soon_as_bytes_arrive_and_is_empty_only_at_the_end() {
    let probe = streams("(call $read 0 LIMIT) (call $read 0 2) (call $read 0 LIMIT) (call $read 0 LIMIT)")
        .features(BUFFER_REQUEST)
        .load();
    let mut host = get();
    let client = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    call.waits();
    for piece in ["first", "second"] {
        client.push(piece);
        call.waits();
    }
    client.push("");
    call.waits();
    client.finish(None);
    let Ok(Outcome::Next(mut pinned)) = call.ends() else { panic!("nothing was written") };
    assert_eq!(pinned.host_mut().request.take_body().0, b"firstsecond");
    block_on(pinned.handle_response()).unwrap();
    assert_eq!(probe.notes(), [more("first"), more("se"), more("cond"), eof("")]);
}

#[test]
fn the_head_is_final_once_the_guest_has_written() {
    for (change, function) in [
        (r#"(call $set_method "PUT")"#, "set_method"),
        (r#"(call $set_uri "/other")"#, "set_uri"),
        (r#"(call $set_header_value 0 "a" "b")"#, "set_header_value"),
        (r#"(call $add_header_value 0 "a" "b")"#, "add_header_value"),
        (r#"(call $remove_header 0 "a")"#, "remove_header"),
        (r#"(call $set_header_value 0 "content-length" "0")"#, "set_header_value"),
    ] {
        // Failing open has no effect.
        let probe = streams(&format!(r#"(call $write_body 0 "begun") {change}"#)).fails_open().load();
        let mut begun = begin(&probe, get(), "original");
        assert_eq!(begun.piece(), "begun");
        assert!(begun.rest().is_err(), "it isn't ended as if it were whole");
        let error = begun.end().unwrap_err();
        assert_eq!((error.kind(), error.function()), (ErrorKind::HostCall, Some(function)), "{error}");
        assert!(error.to_string().contains("was sent with the first write_body"), "{error}");
        assert_eq!((probe.stats().live, probe.stats().dropped_failed), (0, 1));
    }
}

#[test]
fn the_guest_reads_the_head_as_it_was_sent() {
    let probe = streams(
        r#"(call $set_uri "/sent") (call $set_header_value 0 "a" "b") (call $write_body 0 "all")
           (call $note_text (call $get_uri BUF LIMIT))
           (call $note_list (call $get_header_values 0 "a" BUF LIMIT))"#,
    )
    .on_response("(call $note_text (call $get_uri BUF LIMIT))")
    .load();
    let mut begun = begin(&probe, get(), "");
    assert_eq!(begun.rest().unwrap().0, b"all");
    block_on(begun.passed().handle_response()).unwrap();
    use crate::support::{list, text};
    assert_eq!(probe.notes(), [text("/sent"), list(["b"]), text("/sent")]);
}

#[test]
fn an_empty_write_does_not_send_the_head() {
    let probe = streams(r#"(call $write_body 0 "") (call $set_uri "/late")"#).load();
    let mut pinned = probe.next(crate::support::post(b"original"));
    assert_eq!(pinned.host_mut().uri, b"/late");
    assert_eq!(pinned.host_mut().request.take_body().0, b"");
}

#[test]
fn a_request_is_aborted_if_the_guest_responds_itself() {
    let probe =
        stops(r#"(call $write_body 0 "begun") (call $write_body 1 "mine") (call $set_status_code 403)"#)
            .streams_as(Stream::Request)
            .load();
    let mut begun = begin(&probe, get(), "original");
    assert_eq!(begun.piece(), "begun");
    let error = begun.rest().unwrap_err().to_string();
    assert!(error.contains("responded itself"), "{error}");
    let Ok(Outcome::Respond(mut host)) = begun.end() else { panic!("it has responded") };
    assert_eq!((host.status, host.response.take_body().0), (403, b"mine".to_vec()));
    assert_eq!((probe.stats().idle, probe.stats().streaming), (1, 0));
}

#[test]
fn what_was_written_of_the_response_before_next_is_held_until_next_has_answered() {
    let probe = streams(r#"(call $write_body 1 "early ") (call $write_body 0 "all")"#).load();
    let mut begun = begin(&probe, get(), "");
    assert_eq!(begun.rest().unwrap().0, b"all");
    let mut pinned = begun.passed();
    pinned.host_mut().response.set_body("late");
    let mut host = block_on(pinned.handle_response()).unwrap().host;
    assert_eq!(host.response.take_body().0, b"early late");
}

#[test]
fn trailers_follow_what_the_guest_writes() {
    let change = r#"(call $remove_header 2 "x-gone") (call $set_header_value 2 "x-set" "2")"#;
    for on_request in [format!("{MARKS} {change}"), format!(r#"(call $write_body 0 "all") {change}"#)] {
        let probe = streams(&on_request).load();
        let mut host = get();
        host.request.headers.set(b"trailer", b"x-kept, x-gone");
        let mut begun = begin(&probe, host, "one");
        assert!(["one!", "all"].contains(&&*begun.read()));
        assert!(begun.ended.is_none(), "the trailers have yet to arrive");
        begun.client.finish(Some(fields(&[("x-kept", "1"), ("x-gone", "1")])));
        let (_, trailers) = begun.rest().unwrap();
        assert_eq!(trailers.iter().collect::<Vec<_>>(), [(&b"x-kept"[..], &b"1"[..]), (b"x-set", b"2")]);
        drop(begun.passed());
    }
}

#[test]
fn a_request_ends_for_its_guest_once_the_next_handler_stops_reading() {
    let probe = streams(&format!("{MARKS} (call $read 0 LIMIT) (call $write_body 0 0 200000)"))
        .pages(4)
        .on_response("(call $note (call $get_status_code))")
        .load();
    let mut begun = begin(&probe, get(), "one");
    assert_eq!(begun.read(), "one!");
    // It has responded without reading the rest.
    drop(std::mem::replace(&mut begun.next, get()));
    let mut pinned = begun.passed();
    pinned.host_mut().status = 413;
    assert_eq!(block_on(pinned.handle_response()).unwrap().host.status, 413);
    assert_eq!(probe.notes(), [eof(""), number(413)]);
}

#[test]
fn a_next_handler_that_has_responded_must_continue_to_read() {
    let limits = Limits { stream_stall: Duration::from_millis(50), ..Limits::default() };
    let probe = streams(&format!("{MARKS} (call $read 0 LIMIT)")).limits(limits).load();
    let stalls = |begun: &mut Begun| {
        begun.run_guest();
        std::thread::sleep(Duration::from_millis(200));
        begun.run_guest();
        begun.ended.is_some()
    };
    let mut begun = begin(&probe, get(), "one");
    assert!(!stalls(&mut begun), "there is no answer yet");
    begun.guest.as_mut().unwrap().answered();
    assert_eq!(begun.read(), "one!");
    assert!(!stalls(&mut begun), "it waits for the client");
    begun.client.push("two");
    assert!(stalls(&mut begun));
    let error = begun.rest().unwrap_err().to_string();
    assert!(error.contains("didn't read the rest"), "{error}");
    block_on(begun.passed().handle_response()).unwrap();
    assert_eq!(probe.notes(), [eof("")]);
}

#[test]
fn dropping_a_stream_aborts_the_request() {
    let probe = streams(MARKS).load();
    let mut begun = begin(&probe, get(), "one");
    begun.guest = None;
    assert!(begun.rest().is_err());
    let stats = probe.stats();
    assert_eq!((stats.streaming, stats.live, stats.dropped_cancelled), (0, 0, 1));
}

#[test]
fn only_the_limit_for_streams_applies_to_a_stream() {
    let limits = |total, stream_total| Limits {
        total: Duration::from_millis(total),
        stream_total: Duration::from_millis(stream_total),
        ..Limits::default()
    };
    let slow = r#"(call $write_body 0 "begun") (call $read 0 LIMIT) (call $write_body 0 "late")"#;
    let probe = streams(slow).limits(limits(200, 600_000)).load();
    let mut begun = begin(&probe, get(), "");
    assert_eq!(begun.read(), "begun");
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(begun.read(), "");
    begun.client.finish(None);
    assert_eq!(begun.rest().unwrap().0, b"late");
    let probe = streams(slow).limits(limits(600_000, 100)).load();
    let mut begun = begin(&probe, get(), "");
    assert_eq!(begun.read(), "begun");
    std::thread::sleep(Duration::from_millis(200));
    begun.run_guest();
    assert!(begun.rest().is_err());
    let error = begun.end().unwrap_err().to_string();
    assert!(error.contains("time limit of 100ms"), "{error}");
}

#[test]
fn streamed_writes_are_not_limited() {
    let limits = Limits { written_bytes: 10, replay_bytes: 10, ..Limits::default() };
    let probe = streams(MARKS).features(BUFFER_REQUEST).fails_open().limits(limits).load();
    let mut begun = begin(&probe, get(), "12345678");
    for _ in 0..10 {
        begun.client.push("12345678");
        assert!(begun.read().ends_with("12345678!"));
    }
}

#[test]
fn a_guest_that_fails_before_it_writes_is_bypassed() {
    let probe = streams("(call $read 0 LIMIT) unreachable").fails_open().load();
    let (mut host, _) = probe.bypassed(crate::support::post(b"original"));
    assert_eq!(host.request.take_body().0, b"original");
}

#[test]
fn a_guest_that_has_written_the_request_may_still_fail_open_in_handle_response() {
    let probe = streams(r#"(call $write_body 0 "all")"#).on_response("unreachable").fails_open().load();
    let mut begun = begin(&probe, get(), "");
    assert_eq!(begun.rest().unwrap().0, b"all");
    let mut pinned = begun.passed();
    pinned.host_mut().response.set_body("answer");
    let mut handled = block_on(pinned.handle_response()).unwrap();
    assert!(handled.error.is_some());
    assert_eq!(handled.host.response.take_body().0, b"answer");
}

#[test]
fn a_coded_body_is_decoded_and_writes_are_sent_without_a_coding() {
    let copy = MARKS.replace(r#"(call $write_body 0 "!")"#, "");
    let probe = streams(&copy).features(BUFFER_RESPONSE).decodes().load();
    let (content, coded) = (content(), gzip(&content()));
    for size in [7, 999, 65_537] {
        let mut host = get();
        host.request.headers.set(b"content-encoding", b"gzip");
        host.request.headers.set(b"content-digest", b"sha-256=:x:");
        host.request.headers.set(b"accept-encoding", b"gzip, exotic");
        let client = host.request.feed_body();
        coded.chunks(size).for_each(|piece| client.push(piece.to_vec()));
        client.finish(None);
        let Ok(Outcome::Streams(mut guest)) = ByHand::new(probe.0.handle_request(host)).ends() else {
            panic!("it should have begun to write")
        };
        let next = std::mem::replace(guest.host_mut(), get());
        let mut begun = Begun { guest: Some(guest), ended: None, next, client };
        assert_eq!(field(&begun.next.request, "content-encoding"), None);
        assert_eq!(field(&begun.next.request, "content-digest"), None);
        assert_eq!(field(&begun.next.request, "accept-encoding").as_deref(), Some("gzip"));
        assert!(begun.rest().unwrap().0 == content, "pieces of {size}");
        drop(begun.passed());
    }
}

#[test]
fn both_messages_stream_with_both() {
    let probe = proceeds(MARKS)
        .on_response(&MARKS.replace("read_body 0", "read_body 1").replace("write_body 0", "write_body 1"))
        .features(BUFFER_RESPONSE)
        .streams_as(Stream::Both)
        .load();
    let mut begun = begin(&probe, get(), "one");
    begun.client.finish(None);
    assert_eq!(begun.rest().unwrap().0, b"one!");
    let mut pinned = begun.passed();
    let upstream = pinned.host_mut().response.feed_body();
    upstream.push("two");
    let handled = ByHand::new(pinned.handle_response()).ends().unwrap();
    assert!(handled.stream.is_some());
    assert_eq!(probe.stats().streaming, 1);
    let mut host = handled.host;
    upstream.finish(None);
    assert_eq!(host.response.take_body().0, b"two!");
}

#[test]
fn only_the_message_that_is_set_streams() {
    let response = MARKS.replace("read_body 0", "read_body 1").replace("write_body 0", "write_body 1");
    let both = || proceeds(MARKS).on_response(&response).features(BUFFER_RESPONSE);
    for stream in [Stream::Off, Stream::Response] {
        let probe = both().streams_as(stream).load();
        let mut pinned = probe.next(crate::support::post(b"one"));
        assert_eq!(pinned.host_mut().request.take_body().0, b"one!");
        assert_eq!(framing(&pinned.host_mut().request)[0].as_deref(), Some("4"));
    }
    let probe = both().streams_as(Stream::Request).load();
    let mut begun = begin(&probe, get(), "one");
    begun.client.finish(None);
    begun.rest().unwrap();
    let mut pinned = begun.passed();
    pinned.host_mut().response.set_body("two");
    let mut handled = block_on(pinned.handle_response()).unwrap();
    assert!(handled.stream.is_none());
    assert_eq!(handled.host.response.take_body().0, b"two!");
}

#[test]
fn a_server_that_cannot_stream_requests_refuses_the_guest() {
    let wat = streams(MARKS);
    let refused = wat
        .builder(crate::support::engine())
        .load::<Detachable<super::detach::RcHost>>(wat.text().as_bytes());
    assert!(matches!(refused, Err(LoadError::Stream { message: BodyKind::Request, .. })));
}
