//! Trailers of the request.

use http_wasm_host::{Fields, InMemoryHost, Outcome, Phase};

use crate::support::{
    BUFFER_REQUEST, ByHand, assert_refused, eof, feed, fields, framing, get, guest, header, list, more,
    nothing, post, proceeds, text,
};

/// A chunked request `abcdef` with the trailers a: 1, b: 2, b: 3.
fn request() -> InMemoryHost {
    let mut host = InMemoryHost::new("POST", "/");
    host.request.headers.add(b"transfer-encoding", b"chunked");
    let trailers = fields(&[("a", "1"), ("b", "2"), ("b", "3")]);
    feed(&mut host.request, [&b"abc"[..], b"def"].into_iter(), Some(trailers));
    host
}

fn taken(host: &mut InMemoryHost) -> (Vec<u8>, Fields) {
    host.request.take_body()
}

#[test]
fn untouched_trailers_pass() {
    for features in [0, BUFFER_REQUEST, 7] {
        guest().features(features).load().run(request(), |next| {
            assert_eq!(framing(&next.request), [None, Some("chunked".into()), None]);
            assert_eq!(taken(next), (b"abcdef".into(), fields(&[("a", "1"), ("b", "2"), ("b", "3")])));
        });
    }
}

#[test]
fn trailers_pass_after_a_body_that_was_read() {
    for (features, left) in [(0, ""), (BUFFER_REQUEST, "abcdef")] {
        let probe = proceeds("(call $read 0 10)").features(features).load();
        probe.run(request(), |next| {
            assert_eq!(framing(&next.request)[0], None);
            let (body, trailers) = taken(next);
            assert_eq!(
                (&body[..], trailers),
                (left.as_bytes(), fields(&[("a", "1"), ("b", "2"), ("b", "3")]))
            );
        });
    }
}

#[test]
fn trailers_pass_after_a_partially_read_body() {
    for (features, left) in [(0, "cdef"), (BUFFER_REQUEST, "abcdef")] {
        let probe = proceeds("(call $read 0 2)").features(features).load();
        probe.run(request(), |next| {
            assert_eq!(framing(&next.request)[0], None, "a length would leave no place for them");
            let (body, trailers) = taken(next);
            assert_eq!(
                (&body[..], trailers),
                (left.as_bytes(), fields(&[("a", "1"), ("b", "2"), ("b", "3")]))
            );
        });
    }
}

const NOTE: &str = "(call $note_list (call $get_header_names 2 BUF LIMIT))
                    (call $note_list (call $get_header_values 2 \"B\" BUF LIMIT))";

#[test]
fn trailers_are_read_after_the_end_of_the_body() {
    for features in [0, BUFFER_REQUEST] {
        let probe = proceeds(&format!("(call $read 0 10) {NOTE}")).features(features).load();
        assert_eq!(probe.noted(request()), [eof("abcdef"), list(["a", "b"]), list(["2", "3"])]);
    }
}

#[test]
fn without_buffer_request_trailers_read_before_the_end_are_empty_and_still_pass() {
    for read in ["", "(call $read 0 2)"] {
        let probe = proceeds(&format!("{read} {NOTE}")).load();
        let mut sent = None;
        probe.run(request(), |next| sent = Some(taken(next)));
        let left = if read.is_empty() { "abcdef" } else { "cdef" };
        assert_eq!(sent.unwrap(), (left.into(), fields(&[("a", "1"), ("b", "2"), ("b", "3")])));
        assert_eq!(probe.notes()[usize::from(!read.is_empty())..], [nothing(), nothing()]);
    }
}

#[test]
fn with_buffer_request_reading_trailers_early_waits_for_the_body_and_keeps_it() {
    for (read, seen) in [("", None), ("(call $read 0 2)", Some(more("ab")))] {
        let probe = proceeds(&format!("{read} {NOTE} (call $read 0 100)")).features(BUFFER_REQUEST).load();
        let mut host = get();
        let feed = host.request.feed_body();
        let mut call = ByHand::new(probe.0.handle_request(host));
        for piece in ["abc", "def"] {
            call.waits();
            feed.push(piece);
        }
        call.waits();
        feed.finish(Some(fields(&[("a", "1"), ("b", "2")])));
        let Ok(Outcome::Next(mut pinned)) = call.ends() else { panic!("the guest proceeds") };
        assert_eq!(taken(pinned.host_mut()), (b"abcdef".into(), fields(&[("a", "1"), ("b", "2")])));
        drop(call);
        crate::support::block_on(pinned.handle_response()).unwrap();
        // The guest can still read the body.
        let rest = eof(if seen.is_some() { "cdef" } else { "abcdef" });
        let expected: Vec<_> = seen.into_iter().chain([list(["a", "b"]), list(["2"]), rest]).collect();
        assert_eq!(probe.notes(), expected);
    }
}

#[test]
fn trailers_of_a_request_that_has_none_are_empty() {
    for features in [0, BUFFER_REQUEST] {
        let probe = proceeds(&format!("{NOTE} (call $read 0 100) {NOTE}")).features(features).load();
        let expected = [nothing(), nothing(), eof("abc"), nothing(), nothing()];
        assert_eq!(probe.noted(post(b"abc")), expected);
    }
}

#[test]
fn trailers_known_before_next_are_readable_in_handle_response() {
    let probe = proceeds("(call $read 0 10)").on_response(NOTE).load();
    assert_eq!(probe.noted(request()), [eof("abcdef"), list(["a", "b"]), list(["2", "3"])]);
}

#[test]
fn trailers_not_known_before_next_read_empty_in_handle_response() {
    for features in [0, BUFFER_REQUEST] {
        let probe = guest().features(features).on_response(NOTE).load();
        assert_eq!(probe.noted(request()), [nothing(), nothing()]);
    }
}

const EDIT: &str = "(call $set_header_value 2 \"A\" \"set\") (call $add_header_value 2 \"b\" \"added\")
                    (call $remove_header 2 \"c\") (call $set_header_value 2 \"new\" \"x\")";

#[test]
fn edits_are_applied_to_the_trailers_that_arrive() {
    // Before and after the body has been read.
    for calls in [EDIT.to_owned(), format!("(call $read 0 10) {EDIT}"), format!("(call $read 0 2) {EDIT}")] {
        for features in [0, BUFFER_REQUEST] {
            let probe = proceeds(&calls).features(features).load();
            let mut host = get();
            let trailers = fields(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
            feed(&mut host.request, [&b"abcdef"[..]].into_iter(), Some(trailers));
            probe.run(host, |next| {
                let mut sent: Vec<_> =
                    taken(next).1.iter().map(|(name, value)| [name, value].concat()).collect();
                sent.sort();
                assert_eq!(sent, [&b"aset"[..], b"b2", b"badded", b"d4", b"newx"], "{calls}");
            });
        }
    }
}

#[test]
fn trailer_edits_made_before_the_end_are_visible_after_it() {
    let probe = proceeds(&format!(
        "{EDIT} (call $read 0 10) {NOTE} (call $note_list (call $get_header_values 2 \"a\" BUF LIMIT))"
    ))
    .load();
    let expected = [eof("abcdef"), list(["a", "b", "new"]), list(["2", "3", "added"]), list(["set"])];
    assert_eq!(probe.noted(request()), expected);
}

#[test]
fn trailers_can_be_added_to_a_request_without_any() {
    for features in [0, BUFFER_REQUEST] {
        let probe =
            proceeds("(call $add_header_value 2 \"X-Sum\" \"1\") (call $add_header_value 2 \"x-sum\" \"2\")")
                .features(features)
                .load();
        probe.run(post(b"abc"), |next| {
            // In HTTP/1.1, a length and trailers are mutually exclusive.
            assert_eq!(framing(&next.request), [None, None, Some("x-sum".into())]);
            assert_eq!(taken(next), (b"abc".into(), fields(&[("x-sum", "1"), ("x-sum", "2")])));
        });
    }
}

#[test]
fn trailers_can_be_added_to_a_body_that_the_guest_writes() {
    let probe = proceeds("(call $write_body 0 \"new\") (call $set_header_value 2 \"x-sum\" \"1\")").load();
    probe.run(post(b"abc"), |next| {
        assert_eq!(framing(&next.request), [None, None, Some("x-sum".into())]);
        assert_eq!(taken(next), (b"new".into(), fields(&[("x-sum", "1")])));
    });
}

#[test]
fn added_trailers_are_announced_beside_those_already_announced() {
    let probe =
        proceeds("(call $set_header_value 2 \"x-sum\" \"1\") (call $set_header_value 2 \"a\" \"2\")").load();
    let mut host = request();
    host.request.headers.add(b"trailer", b"A, b");
    probe.run(host, |next| {
        let mut announced: Vec<_> = header(&next.request, "trailer")
            .unwrap()
            .split([',', '|'])
            .map(|name| name.trim().to_lowercase())
            .collect();
        announced.sort();
        assert_eq!(announced, ["a", "b", "x-sum"]);
    });
}

#[test]
fn removing_trailers_does_not_announce_any() {
    let probe = proceeds("(call $remove_header 2 \"a\")").load();
    probe.run(request(), |next| {
        assert_eq!(header(&next.request, "trailer"), None);
        assert_eq!(taken(next).1, fields(&[("b", "2"), ("b", "3")]));
    });
}

#[test]
fn trailers_are_dropped_in_http_1_0() {
    let probe = proceeds("(call $set_header_value 2 \"x-sum\" \"1\")").load();
    let mut host = post(b"abc");
    host.protocol_version = "HTTP/1.0";
    probe.run(host, |next| {
        assert_eq!(framing(&next.request), crate::support::length(3));
        assert_eq!(taken(next), (b"abc".into(), Fields::new()));
    });
}

#[test]
fn invalid_trailers_trap() {
    for (call, reason) in [
        ("(call $set_header_value 2 \"a b\" \"1\")", "name"),
        ("(call $set_header_value 2 0 0 \"1\")", "name is empty"),
        ("(call $set_header_value 2 \"a\" \"1\\0a\")", "value"),
    ] {
        let error = proceeds(call).load().error(get());
        assert_refused(&error, "set_header_value", Some(Phase::Request), reason);
    }
}

#[test]
fn request_trailers_and_response_trailers_are_separate() {
    let probe = proceeds("(call $read 0 10) (call $set_header_value 3 \"resp\" \"x\")")
        .on_response(
            "(call $note_list (call $get_header_values 2 \"a\" BUF LIMIT))
             (call $note_list (call $get_header_values 3 \"a\" BUF LIMIT))
             (call $note_list (call $get_header_values 2 \"resp\" BUF LIMIT))
             (call $note_text (call $get_method BUF LIMIT))",
        )
        .load();
    assert_eq!(probe.noted(request())[1..], [list(["1"]), nothing(), nothing(), text("POST")]);
}
