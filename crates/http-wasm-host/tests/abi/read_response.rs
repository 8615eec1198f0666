//! Reading the response body in `handle_response`: what the guest gets, and what the client gets afterwards.

use http_wasm_host::InMemoryHost;

use crate::support::{
    BUFFER_RESPONSE, Probe, eof, feed, fill, framing, get, guest, length, more, patient, pattern, proceeds,
    whole,
};

const SIZES: [usize; 6] = [0, 1, 4095, 4096, 4097, 65_537];

/// A guest that reads the whole response in steps.
fn reads_all(step: usize) -> Probe<InMemoryHost> {
    let code = format!("(call $read_all 1 {step})");
    guest().features(BUFFER_RESPONSE).on_response(&code).pages(18).limits(patient()).load()
}

fn check(step: usize) {
    let probe = reads_all(step);
    for size in SIZES.into_iter().filter(|size| step > 1 || *size < 5000) {
        let body = pattern(size);
        for piece in [1, 100, 4096, usize::MAX] {
            if piece == 1 && size > 5000 {
                continue;
            }
            let mut host = probe.run(get(), |next| {
                fill(&mut next.response, &body);
                if piece != usize::MAX {
                    feed(&mut next.response, body.chunks(piece), None);
                }
            });
            assert_eq!(framing(&host.response), length(size), "size {size}, pieces of {piece}");
            assert!(host.response.take_body().0 == body, "size {size}, pieces of {piece}");
            assert_eq!(probe.notes(), whole(&body), "size {size}, pieces of {piece}");
        }
    }
}

#[test]
fn a_response_read_byte_by_byte_reaches_the_client_whole() {
    check(1);
}

#[test]
fn a_response_read_in_steps_of_64_reaches_the_client_whole() {
    check(64);
}

#[test]
fn a_response_read_in_steps_of_2048_reaches_the_client_whole() {
    check(2048);
}

#[test]
fn a_response_read_in_steps_of_1_mib_reaches_the_client_whole() {
    check(1_048_576);
}

#[test]
fn a_response_of_5_000_000_bytes_reaches_the_client_whole_in_read_steps_of_any_size() {
    let body = pattern(5_000_000);
    for step in [64, 2048, 1_048_576] {
        let probe = reads_all(step);
        let mut host = probe.run(get(), |next| {
            fill(&mut next.response, &body);
            feed(&mut next.response, body.chunks(16_384), None);
        });
        assert_eq!(framing(&host.response), length(body.len()));
        assert!(host.response.take_body().0 == body, "steps of {step}");
        assert_eq!(probe.notes(), whole(&body), "steps of {step}");
    }
}

#[test]
fn a_response_read_in_part_reaches_the_client_whole() {
    for read in [1, 64, 4095, 4096] {
        let probe = guest()
            .features(BUFFER_RESPONSE)
            .on_response(&format!("(call $read 1 {read}) (call $read 1 7)"))
            .load();
        let body = pattern(10_000);
        for piece in [1, 100, 4096, 10_000] {
            let mut host = probe.run(get(), |next| {
                fill(&mut next.response, &body);
                feed(&mut next.response, body.chunks(piece), None);
            });
            assert_eq!(framing(&host.response), length(body.len()));
            assert!(host.response.take_body().0 == body, "read {read}, pieces of {piece}");
            assert_eq!(probe.notes(), [more(&body[..read]), more(&body[read..read + 7])]);
        }
    }
}

#[test]
fn a_response_shorter_than_the_buffer_comes_with_eof_in_the_same_call() {
    let probe = guest().features(BUFFER_RESPONSE).on_response("(call $read 1 100) (call $read 1 100)").load();
    for piece in [1, 3, 99] {
        let body = pattern(99);
        probe.run(get(), |next| feed(&mut next.response, body.chunks(piece), None));
        assert_eq!(probe.notes(), [eof(&body), eof("")]);
    }
}

#[test]
fn an_empty_response_is_eof_at_once() {
    let probe = guest().features(BUFFER_RESPONSE).on_response("(call $read 1 1)").load();
    assert_eq!(probe.noted(get()), [eof("")]);
}

#[test]
fn an_untouched_response_reaches_the_client_unchanged() {
    for features in [0, BUFFER_RESPONSE] {
        let probe = guest().features(features).load();
        let mut host = probe.run(get(), |next| {
            next.response.headers.add(b"transfer-encoding", b"chunked");
            feed(&mut next.response, [&b"abc"[..], b"def"].into_iter(), None);
        });
        assert_eq!(framing(&host.response), [None, Some("chunked".into()), None]);
        assert_eq!(host.response.take_body().0, b"abcdef");
    }
}

#[test]
fn a_response_that_is_only_read_keeps_its_framing() {
    let probe = guest().features(BUFFER_RESPONSE).on_response("(call $read 1 4)").load();
    let mut host = probe.run(get(), |next| {
        next.response.headers.add(b"transfer-encoding", b"chunked");
        feed(&mut next.response, [&b"abc"[..], b"def"].into_iter(), None);
    });
    assert_eq!(framing(&host.response), [None, Some("chunked".into()), None]);
    assert_eq!(host.response.take_body().0, b"abcdef");
}

#[test]
fn with_buffer_response_the_host_waits_only_for_what_the_guest_reads() {
    for (read, pushed) in [("", ""), ("(call $read 1 3)", "abc"), ("(call $read 1 2)", "abc")] {
        let probe = guest().features(BUFFER_RESPONSE).on_response(read).load();
        let mut feed = None;
        let mut host = probe.run(get(), |next| {
            let body = next.response.feed_body();
            body.push(pushed);
            feed = Some(body);
        });
        // The head is complete, the instance is back in the pool, and the body has only started to arrive.
        assert_eq!(probe.stats().idle, 1);
        assert_eq!(host.response.take_body().0, pushed.as_bytes());
        let feed = feed.unwrap();
        feed.push("later");
        feed.finish(None);
        assert_eq!(host.response.take_body().0, b"later");
    }
}

#[test]
fn in_handle_request_the_response_body_reads_as_the_guest_wrote_it() {
    let probe = proceeds(
        "(call $read 1 10) (call $write_body 1 \"hello\") (call $read 1 3) (call $write_body 1 \", world\")
         (call $read 1 5) (call $read 1 10) (call $read 1 10)",
    )
    .load();
    let notes = probe.noted(get());
    assert_eq!(notes, [eof(""), more("hel"), more("lo, w"), eof("orld"), eof("")]);
}

#[test]
fn the_guests_own_body_reads_from_the_start_after_it_was_emptied() {
    let probe = proceeds(
        "(call $write_body 1 \"hello\") (call $read 1 10) (call $set_header_value 1 \"content-length\" \"0\")
         (call $read 1 10) (call $write_body 1 \"good bye\") (call $read 1 10)",
    )
    .load();
    assert_eq!(probe.noted(get()), [eof("hello"), eof(""), eof("good bye")]);
}

#[test]
fn reading_the_guests_own_body_does_not_consume_it() {
    let probe = crate::support::stops("(call $write_body 1 \"hello\") (call $read 1 3)").load();
    let mut host = probe.respond(get());
    assert_eq!(framing(&host.response), length(5));
    assert_eq!(host.response.take_body().0, b"hello");
}
