//! Requests that are sent while the guest is writing them.

use std::future::poll_fn;
use std::task::Poll;

use http_wasm_host::{BodyKind, ErrorKind, Frame, InMemoryHost, LocalHost as _, Outcome, Stream};

use super::open::{MARKS_REQUEST, OpenMessage as _, OpenRequest, begin_request, streams_request};
use crate::support::{
    BUFFER_REQUEST, ByHand, block_on, eof, fields, framing, get, header, list, more, number, post, stops,
    text,
};

#[test]
fn writes_reach_the_next_handler_while_the_guest_is_still_running() {
    let probe = streams_request(&MARKS_REQUEST.replacen(
        "(loop",
        r#"(call $set_header_value 0 "x-seen" "yes") (loop"#,
        1,
    ))
    .load();
    let mut host = InMemoryHost::new("POST", "/upload");
    host.request.headers.set(b"content-length", b"6");
    let mut open = begin_request(&probe, host, "one");
    assert_eq!((&open.next.method[..], &open.next.uri[..]), (&b"POST"[..], &b"/upload"[..]));
    assert_eq!(header(&open.next.request, "x-seen").as_deref(), Some("yes"));
    assert_eq!(framing(&open.next.request)[0], None);
    assert_eq!(open.read(), "one!");
    assert_eq!((probe.stats().streaming, probe.stats().idle), (1, 0));
    open.client.push("two");
    assert_eq!(open.read(), "two!");
    assert_eq!(open.read(), "");
    open.client.finish(None);
    assert_eq!(open.rest().unwrap().0, b"");
    let mut pinned = open.passed();
    assert_eq!(probe.stats().streaming, 0);
    pinned.host_mut().status = 201;
    assert_eq!(block_on(pinned.handle_response()).unwrap().host.status, 201);
    let stats = probe.stats();
    assert_eq!((stats.idle, stats.live), (1, 1), "the instance is free again");
}

#[test]
fn guest_and_next_handler_wake_each_other() {
    let probe = streams_request(MARKS_REQUEST).load();
    let OpenRequest { guest, mut next, client, .. } = begin_request(&probe, get(), "one");
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
    let probe = streams_request("(call $write_body 0 0 1000000) (call $note 1)").pages(16).load();
    let mut open = begin_request(&probe, get(), "");
    for piece in 0..16 {
        open.run_guest();
        let Poll::Ready(Some(Ok(Frame::Data(data)))) = open.poll() else {
            panic!("piece {piece} is missing")
        };
        assert_eq!(data.len(), (1_000_000 - piece * 65_536).min(65_536));
        assert!(open.ended.is_none(), "the last piece may not have been received yet");
    }
    assert!(matches!(open.poll(), Poll::Ready(None)));
    drop(open.passed());
}

#[test]
fn a_read_returns_as_soon_as_bytes_arrive_and_is_empty_only_at_the_end() {
    let probe =
        streams_request("(call $read 0 LIMIT) (call $read 0 2) (call $read 0 LIMIT) (call $read 0 LIMIT)")
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
        let probe = streams_request(&format!(r#"(call $write_body 0 "begun") {change}"#)).fails_open().load();
        let mut open = begin_request(&probe, get(), "original");
        assert_eq!(open.piece(), "begun");
        assert!(open.rest().is_err(), "it isn't ended as if it were whole");
        let error = open.end().unwrap_err();
        assert_eq!((error.kind(), error.function()), (ErrorKind::HostCall, Some(function)), "{error}");
        assert!(error.to_string().contains("was sent with the first write_body"), "{error}");
        assert_eq!((probe.stats().live, probe.stats().dropped_failed), (0, 1));
    }
}

#[test]
fn the_guest_reads_the_head_as_it_was_sent() {
    let probe = streams_request(
        r#"(call $set_uri "/sent") (call $set_header_value 0 "a" "b") (call $write_body 0 "all")
           (call $note_text (call $get_uri BUF LIMIT))
           (call $note_list (call $get_header_values 0 "a" BUF LIMIT))"#,
    )
    .on_response("(call $note_text (call $get_uri BUF LIMIT))")
    .load();
    let mut open = begin_request(&probe, get(), "");
    assert_eq!(open.rest().unwrap().0, b"all");
    block_on(open.passed().handle_response()).unwrap();
    assert_eq!(probe.notes(), [text("/sent"), list(["b"]), text("/sent")]);
}

#[test]
fn an_empty_write_does_not_send_the_head() {
    let probe = streams_request(r#"(call $write_body 0 "") (call $set_uri "/late")"#).load();
    let mut pinned = probe.next(post(b"original"));
    assert_eq!(pinned.host_mut().uri, b"/late");
    assert_eq!(pinned.host_mut().request.take_body().0, b"");
}

#[test]
fn a_connect_request_is_not_sent_with_the_first_write() {
    let probe =
        streams_request(r#"(call $write_body 0 "held") (call $set_header_value 0 "x-late" "1")"#).load();
    let mut pinned = probe.next(InMemoryHost::new("CONNECT", "/"));
    assert_eq!(header(&pinned.host_mut().request, "x-late").as_deref(), Some("1"));
}

#[test]
fn a_request_is_aborted_if_the_guest_responds_itself() {
    let probe =
        stops(r#"(call $write_body 0 "begun") (call $write_body 1 "mine") (call $set_status_code 403)"#)
            .streams_as(Stream::Request)
            .load();
    let mut open = begin_request(&probe, get(), "original");
    assert_eq!(open.piece(), "begun");
    let error = open.rest().unwrap_err().to_string();
    assert!(error.contains("responded itself"), "{error}");
    let Ok(Outcome::Respond(mut host)) = open.end() else { panic!("it has responded") };
    assert_eq!((host.status, host.response.take_body().0), (403, b"mine".to_vec()));
    assert_eq!((probe.stats().idle, probe.stats().streaming), (1, 0));
}

#[test]
fn what_was_written_of_the_response_before_next_is_held_until_next_has_answered() {
    let probe = streams_request(r#"(call $write_body 1 "early ") (call $write_body 0 "all")"#).load();
    let mut open = begin_request(&probe, get(), "");
    assert_eq!(open.rest().unwrap().0, b"all");
    let mut pinned = open.passed();
    pinned.host_mut().response.set_body("late");
    let mut host = block_on(pinned.handle_response()).unwrap().host;
    assert_eq!(host.response.take_body().0, b"early late");
}

#[test]
fn trailers_follow_what_the_guest_writes() {
    let change = r#"(call $remove_header 2 "x-gone") (call $set_header_value 2 "x-set" "2")"#;
    for on_request in [format!("{MARKS_REQUEST} {change}"), format!(r#"(call $write_body 0 "all") {change}"#)]
    {
        let probe = streams_request(&on_request).load();
        let mut host = get();
        host.request.headers.set(b"trailer", b"x-kept, x-gone");
        let mut open = begin_request(&probe, host, "one");
        assert!(["one!", "all"].contains(&&*open.read()));
        assert!(open.ended.is_none(), "the trailers have yet to arrive");
        open.client.finish(Some(fields(&[("x-kept", "1"), ("x-gone", "1")])));
        let (_, trailers) = open.rest().unwrap();
        assert_eq!(trailers.iter().collect::<Vec<_>>(), [(&b"x-kept"[..], &b"1"[..]), (b"x-set", b"2")]);
        drop(open.passed());
    }
}

#[test]
fn a_request_ends_for_its_guest_once_the_next_handler_stops_reading() {
    let probe =
        streams_request(&format!("{MARKS_REQUEST} (call $read 0 LIMIT) (call $write_body 0 0 200000)"))
            .pages(4)
            .on_response("(call $note (call $get_status_code))")
            .load();
    let mut open = begin_request(&probe, get(), "one");
    assert_eq!(open.read(), "one!");
    // It has responded without reading the rest.
    drop(std::mem::replace(&mut open.next, get()));
    let mut pinned = open.passed();
    pinned.host_mut().status = 413;
    assert_eq!(block_on(pinned.handle_response()).unwrap().host.status, 413);
    assert_eq!(probe.notes(), [eof(""), number(413)]);
}

#[test]
fn dropping_a_stream_aborts_the_request() {
    let probe = streams_request(MARKS_REQUEST).load();
    let mut open = begin_request(&probe, get(), "one");
    open.guest = None;
    assert!(open.rest().is_err());
    let stats = probe.stats();
    assert_eq!((stats.streaming, stats.live, stats.dropped_cancelled), (0, 0, 1));
}

#[test]
fn a_guest_that_fails_before_it_writes_is_bypassed() {
    let probe = streams_request("(call $read 0 LIMIT) unreachable").fails_open().load();
    let (mut host, _) = probe.bypassed(post(b"original"));
    assert_eq!(host.request.take_body().0, b"original");
}

#[test]
fn a_guest_that_has_written_the_request_may_still_fail_open_in_handle_response() {
    let probe =
        streams_request(r#"(call $write_body 0 "all")"#).on_response("unreachable").fails_open().load();
    let mut open = begin_request(&probe, get(), "");
    assert_eq!(open.rest().unwrap().0, b"all");
    let mut pinned = open.passed();
    pinned.host_mut().response.set_body("answer");
    let mut handled = block_on(pinned.handle_response()).unwrap();
    assert!(handled.error.is_some());
    assert_eq!(handled.host.response.take_body().0, b"answer");
}
