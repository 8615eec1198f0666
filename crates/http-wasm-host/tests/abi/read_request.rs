//! Reading the request body: what the guest gets, and what the next handler gets afterwards.

use http_wasm_host::InMemoryHost;

use crate::support::{
    BUFFER_REQUEST, Probe, eof, feed, framing, get, guest, length, more, patient, pattern, post, proceeds,
    whole,
};

const SIZES: [usize; 6] = [0, 1, 4095, 4096, 4097, 65_537];

/// A guest that reads the whole request in steps.
fn reads_all(step: usize, features: u32) -> Probe<InMemoryHost> {
    let code = format!("(call $read_all 0 {step})");
    proceeds(&code).features(features).pages(18).limits(patient()).load()
}

/// Sends a body of each size, at once and in pieces, through a guest that reads all of it.
fn check(step: usize, features: u32) {
    let probe = reads_all(step, features);
    for size in SIZES.into_iter().filter(|size| step > 1 || *size < 5000) {
        let body = pattern(size);
        let left = if features & BUFFER_REQUEST == 0 { &[][..] } else { &body };
        for piece in [1, 100, 4096, usize::MAX] {
            if piece == 1 && size > 5000 {
                continue;
            }
            let mut host = post(&body);
            if piece != usize::MAX {
                feed(&mut host.request, body.chunks(piece), None);
            }
            probe.run(host, |next| {
                assert_eq!(framing(&next.request), length(left.len()), "size {size}, pieces of {piece}");
                assert!(next.request.take_body().0 == left, "size {size}, pieces of {piece}");
            });
            assert_eq!(probe.notes(), whole(&body), "size {size}, pieces of {piece}");
        }
    }
}

/// `consumed: replayed: step;`, a test without and one with `buffer_request`.
macro_rules! steps {
    ($($consumed:ident $replayed:ident $step:expr;)*) => {$(
        #[test]
        fn $consumed() {
            check($step, 0);
        }
        #[test]
        fn $replayed() {
            check($step, BUFFER_REQUEST);
        }
    )*};
}

steps! {
    a_body_read_byte_by_byte_is_consumed_without_buffer_request
        a_body_read_byte_by_byte_is_replayed_with_buffer_request 1;
    a_body_read_in_steps_of_64_is_consumed_without_buffer_request
        a_body_read_in_steps_of_64_is_replayed_with_buffer_request 64;
    a_body_read_in_steps_of_2048_is_consumed_without_buffer_request
        a_body_read_in_steps_of_2048_is_replayed_with_buffer_request 2048;
    a_body_read_in_steps_of_1_mib_is_consumed_without_buffer_request
        a_body_read_in_steps_of_1_mib_is_replayed_with_buffer_request 1_048_576;
}

#[test]
fn a_body_of_5_000_000_bytes_is_replayed_in_read_steps_of_any_size() {
    let body = pattern(5_000_000);
    for step in [64, 2048, 1_048_576] {
        let probe = reads_all(step, BUFFER_REQUEST);
        let mut host = post(&body);
        feed(&mut host.request, body.chunks(16_384), None);
        probe.run(host, |next| {
            assert_eq!(framing(&next.request), length(body.len()));
            assert!(next.request.take_body().0 == body, "steps of {step}");
        });
        assert_eq!(probe.notes(), whole(&body), "steps of {step}");
    }
}

#[test]
fn a_body_shorter_than_the_buffer_comes_with_eof_in_the_same_call() {
    let probe = proceeds("(call $read 0 100)").load();
    for pieces in [1, 3, 99] {
        let body = pattern(99);
        let mut host = get();
        feed(&mut host.request, body.chunks(pieces), None);
        assert_eq!(probe.noted(host), [eof(&body)]);
    }
}

#[test]
fn a_body_as_long_as_the_buffer_comes_with_eof_where_its_end_is_known() {
    let probe = proceeds("(call $read 0 4)").load();
    assert_eq!(probe.noted(post(b"abcd")), [eof("abcd")]);
}

#[test]
fn an_empty_body_is_eof_at_once_and_again() {
    let probe = proceeds("(call $read 0 10) (call $read 0 1) (call $read 0 10)").load();
    assert_eq!(probe.noted(get()), [eof(""), eof(""), eof("")]);
    let mut host = get();
    feed(&mut host.request, [].into_iter(), None);
    assert_eq!(probe.noted(host), [eof(""), eof(""), eof("")]);
}

#[test]
fn empty_pieces_do_not_end_the_body() {
    let probe = proceeds("(call $read 0 2) (call $read 0 10)").load();
    let mut host = get();
    feed(&mut host.request, [&b""[..], b"a", b"", b"b", b"", b"", b"c", b""].into_iter(), None);
    assert_eq!(probe.noted(host), [more("ab"), eof("c")]);
}

#[test]
fn a_read_continues_where_the_last_one_stopped() {
    let probe = proceeds("(call $read 0 3) (call $read 0 2) (call $read 0 4) (call $read 0 9)").load();
    assert_eq!(probe.noted(post(b"abcdefghijk")), [more("abc"), more("de"), more("fghi"), eof("jk")]);
}

#[test]
fn after_the_end_reads_stay_at_the_end() {
    let probe = proceeds("(call $read 0 9) (call $read 0 9) (call $read 0 1)").load();
    assert_eq!(probe.noted(post(b"abc")), [eof("abc"), eof(""), eof("")]);
}

#[test]
fn without_buffer_request_what_was_read_is_consumed_and_the_rest_is_forwarded() {
    for read in [1, 64, 4095, 4096] {
        let probe = proceeds(&format!("(call $read 0 {read})")).load();
        let body = pattern(10_000);
        for piece in [1, 100, 4096, 10_000] {
            let mut host = post(&body);
            feed(&mut host.request, body.chunks(piece), None);
            probe.run(host, |next| {
                assert_eq!(framing(&next.request), length(body.len() - read));
                assert!(next.request.take_body().0 == body[read..], "read {read}, pieces of {piece}");
            });
            assert_eq!(probe.notes(), [more(&body[..read])]);
        }
    }
}

#[test]
fn with_buffer_request_the_next_handler_gets_the_whole_body_whatever_was_read() {
    for read in [1, 64, 4095, 4096] {
        let probe =
            proceeds(&format!("(call $read 0 {read}) (call $read 0 7)")).features(BUFFER_REQUEST).load();
        let body = pattern(10_000);
        for piece in [1, 100, 4096, 10_000] {
            let mut host = post(&body);
            feed(&mut host.request, body.chunks(piece), None);
            probe.run(host, |next| {
                assert_eq!(framing(&next.request), length(body.len()));
                assert!(next.request.take_body().0 == body, "read {read}, pieces of {piece}");
            });
            assert_eq!(probe.notes(), [more(&body[..read]), more(&body[read..read + 7])]);
        }
    }
}

#[test]
fn buffer_request_enabled_between_reads_keeps_what_is_read_afterwards() {
    let probe = proceeds("(call $read 0 3) (drop (call $enable_features 1)) (call $read 0 3)").load();
    probe.run(post(b"abcdefghi"), |next| {
        assert_eq!(framing(&next.request), length(6));
        assert_eq!(next.request.take_body().0, b"defghi");
    });
}

#[test]
fn an_untouched_request_body_is_forwarded_unchanged() {
    for features in [0, BUFFER_REQUEST] {
        let probe = guest().features(features).load();
        let mut host = get();
        host.request.headers.add(b"transfer-encoding", b"chunked");
        feed(&mut host.request, [&b"abc"[..], b"def"].into_iter(), None);
        probe.run(host, |next| {
            assert_eq!(framing(&next.request), [None, Some("chunked".into()), None]);
            assert_eq!(next.request.take_body().0, b"abcdef");
        });
    }
}

#[test]
fn in_handle_response_the_request_body_is_at_eof_whatever_is_left_of_it() {
    let probe = proceeds("(call $read 0 2)")
        .features(BUFFER_REQUEST)
        .on_response("(call $read 0 10) (call $read 0 1)")
        .load();
    assert_eq!(probe.noted(post(b"abcdef")), [more("ab"), eof(""), eof("")]);
    // The next handler may not even have read it.
    let mut host = get();
    let feed = host.request.feed_body();
    feed.push("abcdef");
    assert_eq!(probe.noted(host), [more("ab"), eof(""), eof("")]);
}

#[test]
fn a_guest_that_stops_may_leave_the_body_unread_or_read_it() {
    for body in ["", "(call $read 0 3)", "(call $read_all 0 100)"] {
        let probe = crate::support::stops(body).pages(2).load();
        let host = probe.respond(post(&pattern(1000)));
        assert_eq!(host.status, 200);
        assert_eq!(probe.stats().idle, 1);
    }
}

#[test]
fn a_consumed_body_of_unknown_length_gets_no_length() {
    let probe = proceeds("(call $read 0 2)").load();
    let mut host = get();
    host.request.headers.add(b"content-length", b"6");
    let feed = host.request.feed_body();
    feed.push("abcd");
    let mut pinned = probe.next(host);
    let framing = framing(&pinned.host_mut().request);
    // Either the rest of the declared length, or none.
    assert!(framing == length(4) || framing == crate::support::UNFRAMED, "{framing:?}");
    feed.push("ef");
    feed.finish(None);
    assert_eq!(pinned.host_mut().request.take_body().0, b"cdef");
}

#[test]
fn a_get_request_without_a_body_gets_no_content_length_when_the_guest_reads_it() {
    let probe = proceeds("(call $read 0 10)").load();
    let mut pinned = probe.next(get());
    assert_eq!(framing(&pinned.host_mut().request), crate::support::UNFRAMED);
}
