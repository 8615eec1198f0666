//! Trailers of the response.

use http_wasm_host::{Fields, InMemoryHost};

use crate::support::{
    BUFFER_RESPONSE, ByHand, block_on, eof, feed, fields, fill, framing, get, guest, header, length, list,
    more, nothing, proceeds, stops,
};

/// A chunked response `abcdef` with the trailers a: 1, b: 2, b: 3.
fn answer(next: &mut InMemoryHost) {
    next.response.headers.add(b"transfer-encoding", b"chunked");
    let trailers = fields(&[("a", "1"), ("b", "2"), ("b", "3")]);
    feed(&mut next.response, [&b"abc"[..], b"def"].into_iter(), Some(trailers));
}

fn taken(mut host: InMemoryHost) -> (Vec<u8>, Fields) {
    host.response.take_body()
}

const NOTE: &str = "(call $note_list (call $get_header_names 3 BUF LIMIT))
                    (call $note_list (call $get_header_values 3 \"B\" BUF LIMIT))";

#[test]
fn untouched_trailers_pass() {
    for features in [0, BUFFER_RESPONSE, 7] {
        let host = guest().features(features).load().run(get(), answer);
        assert_eq!(framing(&host.response), [None, Some("chunked".into()), None]);
        assert_eq!(taken(host), (b"abcdef".into(), fields(&[("a", "1"), ("b", "2"), ("b", "3")])));
    }
}

#[test]
fn trailers_pass_after_a_fully_or_partially_read_body() {
    for read in [2, 6, 10] {
        let probe = guest().features(BUFFER_RESPONSE).on_response(&format!("(call $read 1 {read})")).load();
        let host = probe.run(get(), answer);
        assert_eq!(framing(&host.response)[0], None);
        assert_eq!(taken(host), (b"abcdef".into(), fields(&[("a", "1"), ("b", "2"), ("b", "3")])));
    }
}

#[test]
fn with_buffer_response_reading_trailers_waits_for_the_body_and_keeps_it() {
    for (read, seen) in [("", None), ("(call $read 1 2)", Some(more("ab")))] {
        let probe = guest()
            .features(BUFFER_RESPONSE)
            .on_response(&format!("{read} {NOTE} (call $read 1 100)"))
            .load();
        let mut pinned = probe.next(get());
        let feed = pinned.host_mut().response.feed_body();
        let mut call = ByHand::new(pinned.handle_response());
        for piece in ["abc", "def"] {
            call.waits();
            feed.push(piece);
        }
        call.waits();
        let wakes = call.wakes();
        feed.finish(Some(fields(&[("a", "1"), ("b", "2"), ("b", "3")])));
        assert_eq!(call.wakes(), wakes + 1);
        let host = call.ends().unwrap().host;
        assert_eq!(taken(host), (b"abcdef".into(), fields(&[("a", "1"), ("b", "2"), ("b", "3")])));
        let rest = eof(if seen.is_some() { "cdef" } else { "abcdef" });
        let expected: Vec<_> = seen.into_iter().chain([list(["a", "b"]), list(["2", "3"]), rest]).collect();
        assert_eq!(probe.notes(), expected);
    }
}

#[test]
fn without_buffer_response_trailers_read_empty_without_waiting() {
    let probe = guest().on_response(NOTE).load();
    let mut pinned = probe.next(get());
    let feed = pinned.host_mut().response.feed_body();
    let mut host = block_on(pinned.handle_response()).unwrap().host;
    assert_eq!(probe.notes(), [nothing(), nothing()]);
    feed.push("abc");
    feed.finish(Some(fields(&[("a", "1")])));
    assert_eq!(host.response.take_body(), (b"abc".into(), fields(&[("a", "1")])));
}

#[test]
fn trailers_of_a_response_that_has_none_are_empty() {
    let probe = guest().features(BUFFER_RESPONSE).on_response(NOTE).load();
    probe.run(get(), |next| fill(&mut next.response, b"abc"));
    assert_eq!(probe.notes(), [nothing(), nothing()]);
    assert_eq!(probe.noted(get()), [nothing(), nothing()]);
}

#[test]
fn a_guest_that_only_reads_trailers_keeps_the_framing_of_a_response_without_any() {
    let probe = guest().features(BUFFER_RESPONSE).on_response(NOTE).load();
    let host = probe.run(get(), |next| fill(&mut next.response, b"abc"));
    assert_eq!(framing(&host.response), length(3));
    assert_eq!(taken(host), (b"abc".into(), Fields::new()));
}

const EDIT: &str = "(call $set_header_value 3 \"A\" \"set\") (call $add_header_value 3 \"b\" \"added\")
                    (call $remove_header 3 \"c\") (call $set_header_value 3 \"new\" \"x\")";

fn check_edited(host: InMemoryHost) {
    let mut sent: Vec<_> = taken(host).1.iter().map(|(name, value)| [name, value].concat()).collect();
    sent.sort();
    assert_eq!(sent, [&b"aset"[..], b"b2", b"badded", b"d4", b"newx"]);
}

fn edited(next: &mut InMemoryHost) {
    let trailers = fields(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    feed(&mut next.response, [&b"abcdef"[..]].into_iter(), Some(trailers));
}

#[test]
fn edits_in_handle_response_are_applied_to_the_trailers_that_arrive() {
    for calls in [EDIT.to_owned(), format!("(call $read 1 10) {EDIT}"), format!("(call $read 1 2) {EDIT}")] {
        let probe = guest().features(BUFFER_RESPONSE).on_response(&calls).load();
        check_edited(probe.run(get(), edited));
    }
}

#[test]
fn edits_in_handle_response_need_not_wait_for_the_body() {
    let probe = guest().features(BUFFER_RESPONSE).on_response(EDIT).load();
    let mut pinned = probe.next(get());
    let feed = pinned.host_mut().response.feed_body();
    let host = ByHand::new(pinned.handle_response()).ends().unwrap().host;
    feed.push("abcdef");
    feed.finish(Some(fields(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")])));
    check_edited(host);
}

#[test]
fn edits_in_handle_request_are_applied_to_the_next_handlers_trailers() {
    for features in [0, BUFFER_RESPONSE] {
        let probe = proceeds(EDIT).features(features).load();
        check_edited(probe.run(get(), edited));
    }
}

#[test]
fn trailer_edits_are_visible_when_the_guest_reads_the_trailers() {
    let probe = guest()
        .features(BUFFER_RESPONSE)
        .on_response(&format!("{EDIT} {NOTE} (call $note_list (call $get_header_values 3 \"a\" BUF LIMIT))"))
        .load();
    probe.run(get(), answer);
    assert_eq!(probe.notes(), [list(["a", "b", "new"]), list(["2", "3", "added"]), list(["set"])]);
}

#[test]
fn response_trailers_in_handle_request_are_those_that_the_guest_has_set_so_far() {
    let probe = stops(&format!("{NOTE} {EDIT} {NOTE}")).load();
    let expected = [nothing(), nothing(), list(["a", "b", "new"]), list(["added"])];
    assert_eq!(probe.noted(get()), expected);
}

#[test]
fn a_guest_that_stops_can_send_trailers() {
    let probe = stops("(call $write_body 1 \"hello\") (call $set_header_value 3 \"X-Sum\" \"1\")").load();
    let host = probe.respond(get());
    assert_eq!(framing(&host.response), [None, None, Some("x-sum".into())]);
    assert_eq!(taken(host), (b"hello".into(), fields(&[("x-sum", "1")])));
}

#[test]
fn trailers_can_be_added_to_a_response_without_any() {
    let probe =
        guest().features(BUFFER_RESPONSE).on_response("(call $set_header_value 3 \"x-sum\" \"1\")").load();
    let host = probe.run(get(), |next| fill(&mut next.response, b"abc"));
    assert_eq!(framing(&host.response), [None, None, Some("x-sum".into())]);
    assert_eq!(taken(host), (b"abc".into(), fields(&[("x-sum", "1")])));
}

#[test]
fn trailers_can_be_added_to_a_body_that_the_guest_writes() {
    let probe = guest()
        .features(BUFFER_RESPONSE)
        .on_response("(call $write_body 1 \"new\") (call $set_header_value 3 \"x-sum\" \"1\")")
        .load();
    let host = probe.run(get(), |next| fill(&mut next.response, b"abc"));
    assert_eq!(framing(&host.response), [None, None, Some("x-sum".into())]);
    assert_eq!(taken(host), (b"new".into(), fields(&[("x-sum", "1")])));
}

#[test]
fn removing_trailers_does_not_announce_any() {
    for calls in [
        "(call $remove_header 3 \"a\")",
        "(call $read 1 10) (call $remove_header 3 \"a\") (call $remove_header 3 \"b\")",
    ] {
        let probe = guest().features(BUFFER_RESPONSE).on_response(calls).load();
        let host = probe.run(get(), answer);
        let announced = header(&host.response, "trailer");
        assert!(
            announced.is_none_or(|names| names == "b"),
            "announced: {:?}",
            header(&host.response, "trailer")
        );
        assert!(!taken(host).1.contains(b"a"));
    }
}

#[test]
fn a_trailer_that_was_set_and_removed_again_is_not_announced() {
    let probe = stops("(call $set_header_value 3 \"x\" \"1\") (call $remove_header 3 \"x\")").load();
    let host = probe.respond(get());
    assert_eq!(header(&host.response, "trailer"), None);
    assert!(taken(host).1.is_empty());
}

#[test]
fn trailers_are_dropped_in_http_1_0() {
    for probe in [
        stops("(call $write_body 1 \"hello\") (call $set_header_value 3 \"x-sum\" \"1\")").load(),
        guest()
            .features(BUFFER_RESPONSE)
            .on_response("(call $write_body 1 \"hello\") (call $set_header_value 3 \"x-sum\" \"1\")")
            .load(),
    ] {
        let mut host = get();
        host.protocol_version = "HTTP/1.0";
        let host = probe.run(host, |_| {});
        assert_eq!(framing(&host.response), length(5));
        assert_eq!(taken(host), (b"hello".into(), Fields::new()));
    }
}

#[test]
fn trailers_for_responses_without_a_body_are_dropped() {
    let probe =
        guest().features(BUFFER_RESPONSE).on_response("(call $set_header_value 3 \"x-sum\" \"1\")").load();
    for status in [204, 304] {
        let host = probe.run(get(), |next| next.status = status);
        assert_eq!(header(&host.response, "trailer"), None, "{status}");
        assert_eq!(taken(host), (b"".into(), Fields::new()));
    }
}

#[test]
fn trailers_work_without_their_feature_and_with_it() {
    for features in [BUFFER_RESPONSE, BUFFER_RESPONSE | 4] {
        let probe = guest().features(features).on_response("(call $set_header_value 3 \"a\" \"b\")").load();
        assert_eq!(taken(probe.run(get(), |_| {})).1, fields(&[("a", "b")]));
    }
}

#[test]
fn trailers_are_sent_in_http_2() {
    let probe = guest()
        .features(BUFFER_RESPONSE)
        .on_response("(call $set_header_value 3 \"grpc-status\" \"0\")")
        .load();
    let mut host = get();
    host.protocol_version = "HTTP/2.0";
    assert_eq!(taken(probe.run(host, |_| {})).1, fields(&[("grpc-status", "0")]));
}
