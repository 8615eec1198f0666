//! Writing bodies.

use http_wasm_host::InMemoryHost;

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, Note, Probe, eof, feed, fill, framing, get, guest, length, more,
    pattern, post, proceeds, stops,
};

/// The body that `calls` make of the request `abcdef`, and the guest's notes.
fn request(calls: &str, features: u32) -> (Vec<u8>, Vec<Note>) {
    let probe = proceeds(calls).features(features).load();
    let mut sent = Vec::new();
    probe.run(post(b"abcdef"), |next| {
        sent = next.request.take_body().0;
        assert_eq!(framing(&next.request), length(sent.len()));
    });
    (sent, probe.notes())
}

/// The body that `calls`, without a body kind, make of the response `abcdef`, and the guest's notes.
fn response(calls: &str) -> (Vec<u8>, Vec<Note>) {
    let probe = guest().features(BUFFER_RESPONSE).on_response(calls).load();
    let mut host = probe.run(get(), |next| fill(&mut next.response, b"abcdef"));
    let sent = host.response.take_body().0;
    assert_eq!(framing(&host.response), length(sent.len()));
    (sent, probe.notes())
}

/// Checks that these calls have the same effect on a request, with and without `buffer_request`, and on a response.
fn check(calls: &str, sent: &str, notes: &[Note]) {
    let expected = (sent.as_bytes().to_vec(), notes.to_vec());
    assert_eq!(request(&calls.replace("KIND", "0"), 0), expected);
    assert_eq!(request(&calls.replace("KIND", "0"), BUFFER_REQUEST), expected);
    assert_eq!(response(&calls.replace("KIND", "1")), expected);
}

#[test]
fn the_first_write_replaces_the_body_and_later_ones_append() {
    check("(call $write_body KIND \"new\")", "new", &[]);
    check(
        "(call $write_body KIND \"new\") (call $write_body KIND \" and\") (call $write_body KIND \" newer\")",
        "new and newer",
        &[],
    );
}

#[test]
fn an_empty_first_write_empties_the_body() {
    check("(call $write_body KIND 0 0)", "", &[]);
}

#[test]
fn an_empty_write_between_others_changes_nothing() {
    check(
        "(call $write_body KIND 0 0) (call $write_body KIND \"a\") (call $write_body KIND 0 0)
         (call $write_body KIND \"b\") (call $write_body KIND 0 0)",
        "ab",
        &[],
    );
}

#[test]
fn reads_after_the_first_write_still_return_the_original() {
    check(
        "(call $read KIND 2) (call $write_body KIND \"1\") (call $read KIND 2) (call $write_body KIND \"2\")
         (call $read KIND 9) (call $write_body KIND \"3\") (call $read KIND 9)",
        "123",
        &[more("ab"), more("cd"), eof("ef"), eof("")],
    );
    check("(call $write_body KIND \"x\") (call $read KIND 9)", "x", &[eof("abcdef")]);
}

#[test]
fn the_originals_unread_rest_is_dropped() {
    check("(call $read KIND 2) (call $write_body KIND \"x\")", "x", &[more("ab")]);
    check("(call $write_body KIND \"x\") (call $read KIND 2)", "x", &[more("ab")]);
}

#[test]
fn a_guest_may_write_back_what_it_reads() {
    check(
        "(call $write_body KIND BUF (i32.wrap_i64 (call $read_body KIND BUF 4)))
         (call $write_body KIND BUF (i32.wrap_i64 (call $read_body KIND BUF 4)))",
        "abcdef",
        &[],
    );
}

#[test]
fn bytes_read_before_the_first_write_are_replaced_as_well() {
    check("(call $read KIND 9) (call $write_body KIND \"x\")", "x", &[eof("abcdef")]);
}

/// A guest that doubles every byte of a body while reading it.
fn doubles(kind: u32) -> String {
    format!(
        "(loop $next
           (global.set $read (call $read_body {kind} LARGE 1000))
           (global.set $len (i32.wrap_i64 (global.get $read)))
           (call $write_body {kind} LARGE (global.get $len))
           (call $write_body {kind} LARGE (global.get $len))
           (br_if $next (i64.eqz (i64.shr_u (global.get $read) (i64.const 32)))))"
    )
}

const GLOBALS: &str = "(global $len (mut i32) (i32.const 0)) (global $read (mut i64) (i64.const 0))";

fn doubled(body: &[u8]) -> Vec<u8> {
    body.chunks(1000).flat_map(|chunk| [chunk, chunk].concat()).collect()
}

#[test]
fn alternate_reads_and_writes_rewrite_long_bodies() {
    for size in [0, 999, 1000, 1001, 65_537] {
        let body = pattern(size);
        for piece in [1, 700, 100_000] {
            let probe: Probe<InMemoryHost> = proceeds(&doubles(0))
                .features(BUFFER_RESPONSE)
                .on_response(&doubles(1))
                .item(GLOBALS)
                .pages(2)
                .load();
            let mut host = post(&body);
            feed(&mut host.request, body.chunks(piece), None);
            let mut host = probe.run(host, |next| {
                assert_eq!(framing(&next.request), length(2 * size));
                assert!(next.request.take_body().0 == doubled(&body));
                fill(&mut next.response, &body);
                feed(&mut next.response, body.chunks(piece), None);
            });
            assert_eq!(framing(&host.response), length(2 * size));
            assert!(host.response.take_body().0 == doubled(&body));
        }
    }
}

#[test]
fn eight_bit_and_nul_bytes_are_sent_unchanged() {
    let all: Vec<u8> = (0..=255).collect();
    let escaped: String = all.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let probe = stops(&format!("(call $write_body 1 \"{escaped}\")")).load();
    assert_eq!(probe.respond(get()).response.take_body().0, all);
}

#[test]
fn request_and_response_bodies_are_written_independently() {
    let probe = proceeds(
        "(call $write_body 1 \"first \") (call $write_body 0 \"asked\") (call $write_body 1 \"too \")",
    )
    .load();
    let mut host = probe.run(post(b"x"), |next| {
        assert_eq!(next.request.take_body().0, b"asked");
        fill(&mut next.response, b"answer");
    });
    assert_eq!(host.response.take_body().0, b"first too answer");
}

#[test]
fn the_first_write_in_handle_response_replaces_the_body_despite_early_writes() {
    let probe = proceeds("(call $write_body 1 \"early\")")
        .features(BUFFER_RESPONSE)
        .on_response("(call $write_body 1 \"late\")")
        .load();
    let mut host = probe.run(get(), |next| fill(&mut next.response, b"answer"));
    assert_eq!(framing(&host.response), length(4));
    assert_eq!(host.response.take_body().0, b"late");
}

#[test]
fn a_request_that_the_guest_empties_has_content_length_zero_if_it_had_a_body() {
    let probe = proceeds("(call $write_body 0 0 0)").load();
    probe.run(post(b"abc"), |next| {
        assert_eq!(framing(&next.request), length(0));
        assert_eq!(next.request.take_body().0, b"");
    });
}

#[test]
fn a_body_can_be_written_to_a_request_without_one() {
    let probe = proceeds("(call $write_body 0 \"new\")").load();
    probe.run(get(), |next| {
        assert_eq!(framing(&next.request), length(3));
        assert_eq!(next.request.take_body().0, b"new");
    });
}

#[test]
fn a_written_body_is_framed_by_its_length_instead_of_chunked() {
    let probe = proceeds("(call $write_body 0 \"new\")")
        .features(BUFFER_RESPONSE)
        .on_response("(call $write_body 1 \"newer\")")
        .load();
    let mut host = get();
    host.request.headers.add(b"transfer-encoding", b"chunked");
    feed(&mut host.request, [&b"abc"[..]].into_iter(), None);
    let mut host = probe.run(host, |next| {
        assert_eq!(framing(&next.request), length(3));
        next.response.headers.add(b"transfer-encoding", b"chunked");
        feed(&mut next.response, [&b"abcdef"[..]].into_iter(), None);
    });
    assert_eq!(framing(&host.response), length(5));
    assert_eq!(host.response.take_body().0, b"newer");
}
