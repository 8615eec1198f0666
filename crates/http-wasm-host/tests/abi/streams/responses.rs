//! Responses that are sent while the guest is writing them.

use std::task::Poll;

use http_wasm_host::{ErrorKind, Frame, Handled, InMemoryHost, StreamEnd};

use super::open::{MARKS_RESPONSE, OpenMessage as _, begin_response, streams_response};
use crate::support::{BUFFER_RESPONSE, ByHand, block_on, eof, fields, framing, get, header, more, proceeds};

#[test]
fn writes_are_sent_while_the_guest_is_still_running() {
    let probe = streams_response(&MARKS_RESPONSE.replacen(
        "(loop",
        r#"(call $set_header_value 1 "x-seen" "yes") (loop"#,
        1,
    ))
    .load();
    let mut open =
        begin_response(&probe, get(), "one", |host| host.response.headers.set(b"content-length", b"6"));
    assert_eq!(header(&open.host.response, "x-seen").as_deref(), Some("yes"));
    assert_eq!(framing(&open.host.response)[0], None);
    assert_eq!(open.read(), "one!");
    assert_eq!((probe.stats().streaming, probe.stats().idle), (1, 0));
    assert_eq!(open.read(), "");
    open.upstream.push("two");
    assert_eq!(open.read(), "two!");
    open.upstream.finish(None);
    assert_eq!(open.rest().unwrap().0, b"");
    let stats = probe.stats();
    assert_eq!((stats.streaming, stats.idle, stats.live), (0, 1, 1), "the instance is free again");
}

#[test]
fn a_write_waits_for_the_receiver_and_is_held_piece_by_piece() {
    let probe = streams_response("(call $write_body 1 0 1000000) (call $note 1)").pages(16).load();
    let mut open = begin_response(&probe, get(), "", |_| {});
    for piece in 0..16 {
        let Poll::Ready(Some(Ok(Frame::Data(data)))) = open.poll() else {
            panic!("piece {piece} is missing")
        };
        assert_eq!(data.len(), (1_000_000 - piece * 65_536).min(65_536));
    }
    assert_eq!(probe.stats().streaming, 1, "the last piece may not have been received yet");
    assert!(matches!(open.poll(), Poll::Ready(None)));
    assert_eq!(probe.stats().streaming, 0);
}

#[test]
fn a_read_returns_as_soon_as_bytes_arrive_and_is_empty_only_at_the_end() {
    let probe =
        streams_response("(call $read 1 LIMIT) (call $read 1 2) (call $read 1 LIMIT) (call $read 1 LIMIT)")
            .load();
    let mut pinned = probe.next(get());
    let upstream = pinned.host_mut().response.feed_body();
    let mut call = ByHand::new(pinned.handle_response());
    call.waits();
    for piece in ["first", "second"] {
        upstream.push(piece);
        call.waits();
    }
    upstream.push("");
    call.waits();
    upstream.finish(None);
    let mut handled = call.ends().unwrap();
    assert!(handled.stream.is_none(), "nothing was written");
    assert_eq!(handled.host.response.take_body().0, b"firstsecond");
    let notes = probe.notes();
    assert_eq!(notes[..3], [more("first"), more("se"), more("cond")]);
    assert_eq!(notes[3], eof(""));
}

#[test]
fn the_head_is_final_once_the_guest_has_written() {
    for (change, function) in [
        ("(call $set_status_code 500)", "set_status_code"),
        (r#"(call $set_header_value 1 "a" "b")"#, "set_header_value"),
        (r#"(call $add_header_value 1 "a" "b")"#, "add_header_value"),
        (r#"(call $remove_header 1 "a")"#, "remove_header"),
        (r#"(call $set_header_value 1 "content-length" "0")"#, "set_header_value"),
    ] {
        // Failing open makes no difference.
        let probe =
            streams_response(&format!(r#"(call $write_body 1 "begun") {change}"#)).fails_open().load();
        let mut open = begin_response(&probe, get(), "original", |_| {});
        assert_eq!(header(&open.host.response, "a"), None);
        let error = open.rest().unwrap_err();
        let error = error.downcast_ref::<http_wasm_host::Error>().unwrap();
        assert_eq!((error.kind(), error.function()), (ErrorKind::HostCall, Some(function)), "{error}");
        assert!(error.to_string().contains("was sent with the first write_body"), "{error}");
        assert_eq!((probe.stats().live, probe.stats().dropped_failed), (0, 1));
    }
}

#[test]
fn an_empty_write_does_not_send_the_head() {
    let probe = streams_response(r#"(call $write_body 1 "") (call $set_status_code 404)"#).load();
    let mut host = probe.run(get(), |host| host.response.set_body("original"));
    assert_eq!((host.status, host.response.take_body().0), (404, Vec::new()));
    assert_eq!(framing(&host.response)[0].as_deref(), Some("0"));
}

#[test]
fn a_response_without_a_body_does_not_stream() {
    let probe =
        streams_response(r#"(call $write_body 1 "content") (call $set_header_value 1 "a" "b")"#).load();
    let mut host = probe.run(InMemoryHost::new("HEAD", "/"), |host| {
        host.response.headers.set(b"content-length", b"8");
    });
    assert_eq!(framing(&host.response)[0].as_deref(), Some("8"));
    assert_eq!(host.response.take_body().0, b"");
    let host = probe.run(get(), |host| host.status = 304);
    assert_eq!(header(&host.response, "a").as_deref(), Some("b"));
}

#[test]
fn what_was_written_before_next_is_read_first_and_early_headers_are_sent() {
    let probe = proceeds(r#"(call $write_body 1 "early") (call $set_header_value 1 "x-early" "1")"#)
        .on_response(MARKS_RESPONSE)
        .features(BUFFER_RESPONSE)
        .streams()
        .load();
    let mut open = begin_response(&probe, get(), "late", |_| {});
    assert_eq!(header(&open.host.response, "x-early").as_deref(), Some("1"));
    assert_eq!(open.read(), "early!late!");
}

#[test]
fn trailers_follow_what_the_guest_writes() {
    let remove = r#"(call $remove_header 3 "x-gone") (call $set_header_value 3 "x-set" "2")"#;
    for on_response in
        [format!("{MARKS_RESPONSE} {remove}"), format!(r#"(call $write_body 1 "all") {remove}"#)]
    {
        let probe = streams_response(&on_response).load();
        let mut open = begin_response(&probe, get(), "one", |host| {
            host.response.headers.set(b"trailer", b"x-kept, x-gone");
        });
        open.upstream.finish(Some(fields(&[("x-kept", "1"), ("x-gone", "1")])));
        let (_, trailers) = open.rest().unwrap();
        assert_eq!(trailers.iter().collect::<Vec<_>>(), [(&b"x-kept"[..], &b"1"[..]), (b"x-set", b"2")]);
    }
}

#[test]
fn a_stream_that_nobody_receives_ends_the_call() {
    let probe = streams_response(MARKS_RESPONSE).load();
    let open = begin_response(&probe, get(), "one", |_| {});
    assert_eq!(probe.stats().streaming, 1);
    drop(open);
    let stats = probe.stats();
    assert_eq!((stats.streaming, stats.live, stats.dropped_cancelled), (0, 0, 1));
}

#[test]
fn how_a_stream_ends_is_reported() {
    for (end, on_response) in
        [("finished", MARKS_RESPONSE), ("failed", r#"(call $write_body 1 "begun") unreachable"#)]
    {
        let probe = streams_response(on_response).load();
        let mut pinned = probe.next(get());
        pinned.host_mut().response.set_body("original");
        let Handled { mut host, stream, .. } = block_on(pinned.handle_response()).unwrap();
        let (seen, ended) = std::sync::mpsc::channel();
        stream.unwrap().on_end(move |end| {
            let end = match end {
                StreamEnd::Finished => "finished",
                StreamEnd::Failed(error) if error.kind() == ErrorKind::Trap => "failed",
                other => panic!("{other:?}"),
            };
            seen.send(end).unwrap();
        });
        host.response.take_body();
        assert_eq!(ended.try_recv(), Ok(end));
    }
}

#[test]
fn responses_to_http_1_0_are_held_until_the_guest_has_returned() {
    let probe = streams_response(MARKS_RESPONSE).load();
    let mut host = get();
    host.protocol_version = "HTTP/1.0";
    let mut pinned = probe.next(host);
    pinned.host_mut().response.set_body("whole");
    let Handled { mut host, stream, .. } = block_on(pinned.handle_response()).unwrap();
    assert!(stream.is_none());
    assert_eq!(host.response.take_body().0, b"whole!");
}
