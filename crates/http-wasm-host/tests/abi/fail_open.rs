//! Guests that fail open: their changes are undone.

use std::time::Duration;

use http_wasm_host::{Error, ErrorKind, Fields, Handled, InMemoryHost, Limits, Outcome, Phase};

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, ByHand, Probe, block_on, feed, fields, get, guest, pattern, post,
    proceeds, stops, with_subscriber,
};

/// Changes everything that a guest can change in `handle_request`.
const SPOIL_REQUEST: &str = r#"
    (call $set_method "PUT") (call $set_uri "/spoiled?yes") (call $set_header_value 0 "host" "spoiled.example")
    (call $set_header_value 0 "a" "spoiled") (call $add_header_value 0 "b" "spoiled") (call $remove_header 0 "c")
    (call $write_body 0 "spoiled") (call $set_header_value 2 "t" "spoiled") (call $add_header_value 2 "u" "spoiled")"#;

/// Changes everything that a guest can change in the response, in either phase.
const SPOIL_RESPONSE: &str = r#"
    (call $set_status_code 418) (call $set_header_value 1 "a" "spoiled") (call $remove_header 1 "c")
    (call $add_header_value 1 "set-cookie" "spoiled=1") (call $add_header_value 1 "new" "spoiled")
    (call $write_body 1 "spoiled") (call $remove_header 3 "t") (call $add_header_value 3 "u" "spoiled")"#;

const BODY: &[u8] = b"0123456789";

fn headers() -> Fields {
    fields(&[
        ("c", "1"),
        ("host", "example.com"),
        ("a", "2"),
        ("b", "3"),
        ("a", "4"),
        ("content-length", "10"),
    ])
}

fn trailers() -> Fields {
    fields(&[("t", "1"), ("v", "2")])
}

/// A request with a body in three pieces, and trailers.
fn request() -> InMemoryHost {
    let mut host = InMemoryHost::new("POST", "/a?b");
    host.request.headers = headers();
    feed(&mut host.request, BODY.chunks(4), Some(trailers()));
    host
}

fn respond(host: &mut InMemoryHost) {
    host.status = 201;
    host.response.headers = headers();
    feed(&mut host.response, BODY.chunks(4), Some(trailers()));
}

#[track_caller]
fn assert_request_as_it_came(host: &mut InMemoryHost, note: &str) {
    assert_eq!((&host.method[..], &host.uri[..]), (&b"POST"[..], &b"/a?b"[..]), "{note}");
    assert_eq!(host.request.headers, headers(), "{note}");
    assert_eq!(host.request.take_body(), (BODY.to_vec(), trailers()), "{note}");
    assert_eq!((host.status, host.response.headers.is_empty()), (200, true), "{note}");
    assert_eq!(host.response.take_body(), (Vec::new(), Fields::new()), "{note}");
}

#[track_caller]
fn assert_response_as_it_came(host: &mut InMemoryHost, note: &str) {
    assert_eq!((host.status, &host.response.headers), (201, &headers()), "{note}");
    assert_eq!(host.response.take_body(), (BODY.to_vec(), trailers()), "{note}");
}

/// The result for the next handler's response, on which the guest must fail.
#[track_caller]
fn handled(probe: &Probe<InMemoryHost>) -> (InMemoryHost, Error) {
    let mut pinned = probe.next(request());
    respond(pinned.host_mut());
    match block_on(pinned.handle_response()) {
        Ok(Handled { host, error: Some(error), .. }) => (host, error),
        Ok(_) => panic!("the guest should have failed"),
        Err(error) => panic!("the guest should have been left out: {error}"),
    }
}

/// Reads of a body of 10 bytes in 3 pieces: none, part of a piece, past the end of a piece, everything, and everything
/// with the end.
const READS: [&[u32]; 6] = [&[], &[2], &[3, 3], &[10], &[20], &[1, 7, 20]];

fn reads(kind: u32, sizes: &[u32]) -> String {
    sizes.iter().map(|size| format!("(call $read {kind} {size})")).collect()
}

#[test]
fn after_a_trap_a_request_is_forwarded_as_received_whatever_the_guest_did() {
    for features in [0, BUFFER_REQUEST, BUFFER_REQUEST | BUFFER_RESPONSE] {
        for sizes in READS {
            let (read, note) = (reads(0, sizes), format!("features {features}, {sizes:?}"));
            for calls in [
                format!("{read} unreachable"),
                format!("{read} {SPOIL_REQUEST} {SPOIL_RESPONSE} unreachable"),
                format!("{SPOIL_REQUEST} {SPOIL_RESPONSE} {read} unreachable"),
                format!("{read} (call $set_header_value 0 \"content-length\" \"0\") {read} unreachable"),
            ] {
                let probe = stops(&calls).features(features).fails_open().load();
                let (mut host, error) = probe.bypassed(request());
                assert_eq!((error.kind(), error.phase()), (ErrorKind::Trap, Some(Phase::Request)), "{note}");
                assert_request_as_it_came(&mut host, &note);
                let stats = probe.stats();
                assert_eq!((stats.live, stats.dropped_failed), (0, 1), "the instance is dropped");
            }
        }
    }
}

#[test]
fn after_a_trap_a_response_is_sent_as_received_whatever_the_guest_did() {
    for sizes in READS {
        let (read, note) = (reads(1, sizes), format!("{sizes:?}"));
        for early in ["", SPOIL_RESPONSE] {
            for calls in [
                format!("{read} unreachable"),
                format!("{read} {SPOIL_RESPONSE} unreachable"),
                format!("{SPOIL_RESPONSE} {read} unreachable"),
            ] {
                let probe = proceeds(early).features(BUFFER_RESPONSE).on_response(&calls).fails_open().load();
                let (mut host, error) = handled(&probe);
                assert_eq!((error.kind(), error.phase()), (ErrorKind::Trap, Some(Phase::Response)), "{note}");
                assert_response_as_it_came(&mut host, &note);
                assert_eq!((probe.stats().live, probe.stats().dropped_failed), (0, 1));
            }
        }
    }
}

#[test]
fn without_buffer_response_a_trap_discards_what_the_guest_set_before_next() {
    let probe = proceeds(SPOIL_RESPONSE).on_response("unreachable").fails_open().load();
    assert_response_as_it_came(&mut handled(&probe).0, "without buffer_response");
}

#[test]
fn every_kind_of_guest_failure_fails_open() {
    let limits = Limits { header_count: 100, written_bytes: 100, ..Limits::default() };
    for (calls, kind) in [
        ("unreachable", ErrorKind::Trap),
        ("(call $set_method \"\")", ErrorKind::HostCall),
        ("(loop $l (br $l))", ErrorKind::Deadline),
        ("(call $write_body 0 BUF 101)", ErrorKind::Limit),
        ("(loop $l (call $add_header_value 0 \"a\" \"b\") (br $l))", ErrorKind::Limit),
    ] {
        // Short only where it should be exceeded, so that a busy machine doesn't exceed it elsewhere.
        let deadline = if kind == ErrorKind::Deadline { Duration::from_millis(20) } else { limits.deadline };
        let probe = stops(calls).limits(Limits { deadline, ..limits.clone() }).fails_open().load();
        let (mut host, error) = probe.bypassed(request());
        assert_eq!(error.kind(), kind, "{calls}");
        assert_request_as_it_came(&mut host, calls);
    }
}

#[test]
fn the_rest_of_a_body_is_streamed_after_what_the_guest_had_read() {
    let probe = stops("(call $read 0 2) unreachable").fails_open().load();
    let mut host = get();
    let feed = host.request.feed_body();
    feed.push("abc");
    let (mut host, _) = probe.bypassed(host);
    assert_eq!(host.request.take_body().0, b"abc");
    feed.push("def");
    assert_eq!(host.request.take_body().0, b"def");
    feed.finish(Some(trailers()));
    assert_eq!(host.request.take_body(), (Vec::new(), trailers()));
}

#[test]
fn an_interrupted_read_loses_no_bytes_of_the_forwarded_body() {
    let limits = Limits { total: Duration::from_millis(300), ..Limits::default() };
    let probe = stops("(call $read 0 100)").limits(limits).fails_open().load();
    let mut host = get();
    let feed = host.request.feed_body();
    feed.push("abc");
    let mut call = Box::pin(probe.0.handle_request(host));
    ByHand::new(call.as_mut()).waits();
    feed.push("def");
    let (mut host, error) = match block_on(call) {
        Ok(Outcome::Bypassed { host, error }) => (host, error),
        outcome => panic!("{outcome:?}"),
    };
    assert_eq!(error.kind(), ErrorKind::Deadline);
    feed.push("ghi");
    feed.finish(None);
    assert_eq!(host.request.take_body().0, b"abcdefghi");
}

fn capped(calls: &str, features: u32) -> Probe<InMemoryHost> {
    let limits = Limits { replay_bytes: 1000, ..Limits::default() };
    proceeds(calls).features(features).pages(2).limits(limits).fails_open().load()
}

#[test]
fn a_guest_that_consumed_more_than_the_replay_limit_fails_closed() {
    let body = pattern(1001);
    for step in [1, 64, 1001] {
        let probe = capped(&format!("(call $read_all 0 {step}) unreachable"), 0);
        assert_eq!(probe.bypassed(post(&body[..1000])).0.request.take_body().0, body[..1000], "{step}");
        assert_eq!(probe.error(post(&body)).kind(), ErrorKind::Trap, "{step}");
    }
}

#[test]
fn a_guest_may_consume_more_than_the_replay_limit_if_it_does_not_fail() {
    let probe = capped("(call $read 0 1500) (drop (call $enable_features 1)) (call $read 0 900)", 0);
    let body = pattern(5000);
    let mut left = Vec::new();
    probe.run(post(&body), |next| left = next.request.take_body().0);
    assert!(left == body[1500..], "what was read before buffer_request is consumed, the rest is replayed");
}

#[test]
fn bytes_kept_for_fail_open_make_room_for_replay() {
    let calls = "(call $read 0 900) (drop (call $enable_features 1)) (call $read 0 900)";
    let body = pattern(5000);
    let mut left = Vec::new();
    capped(calls, 0).run(post(&body), |next| left = next.request.take_body().0);
    assert!(left == body[900..]);
    // But once those bytes have been dropped, the request can't be forwarded as received.
    let error = capped(&format!("{calls} unreachable"), 0).error(post(&body));
    assert_eq!(error.kind(), ErrorKind::Trap);
}

#[test]
fn a_body_over_the_replay_limit_does_not_fail_open() {
    let error = capped("(call $read_all 0 64)", BUFFER_REQUEST).error(post(&pattern(1001)));
    assert!(matches!(error.kind(), ErrorKind::BodyTooLarge(_)), "{error}");
}

#[test]
fn a_guest_without_failures_behaves_as_if_it_failed_closed() {
    let calls = format!("(call $read 0 4) {SPOIL_RESPONSE}");
    for features in [0, BUFFER_REQUEST, BUFFER_RESPONSE] {
        let wat = || proceeds(&calls).features(features).on_response("(drop (call $get_status_code))");
        let results = [wat().load(), wat().fails_open().load()].map(|probe| {
            let mut sent = None;
            let mut host = probe.run(request(), |next| {
                sent = Some(next.request.take_body());
                respond(next);
            });
            (sent, host.status, host.response.headers.clone(), host.response.take_body())
        });
        assert_eq!(results[0], results[1], "features {features}");
    }
}

#[test]
fn a_guest_that_cannot_start_is_bypassed() {
    // What the subscriber has enabled can differ from one start-up to the next.
    let probe = guest().on_start("(if (call $log_enabled -1) (then unreachable))").fails_open().load();
    let held = probe.next(get());
    let debugging =
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::sink);
    let (mut host, error) = with_subscriber(debugging.finish(), || probe.bypassed(request()));
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Trap, None));
    assert_request_as_it_came(&mut host, "no instance");
    drop(held);
}

#[test]
fn the_next_request_gets_a_fresh_instance() {
    let probe = proceeds(
        "(global.set $n (i32.add (global.get $n) 1)) (if (i32.eq (global.get $n) 2) (then unreachable))",
    )
    .item("(global $n (mut i32) (i32.const 0))")
    .fails_open()
    .load();
    for _ in 0..3 {
        probe.run(get(), |_| {});
        probe.bypassed(get());
    }
    assert_eq!(probe.stats().dropped_failed, 3);
}

#[test]
fn a_failure_in_handle_error_does_not_fail_open() {
    let probe = guest().on_response("unreachable").fails_open().load();
    assert_eq!(block_on(probe.next(get()).handle_error()).unwrap_err().kind(), ErrorKind::Trap);
}

#[test]
fn trailer_edits_of_the_previous_guest_are_kept() {
    let first = proceeds("(call $add_header_value 2 \"t\" \"first\")").load();
    for read in ["", "(call $read 0 2)", "(call $read 0 20)"] {
        let edit = "(call $set_header_value 2 \"t\" \"spoiled\")";
        let second = stops(&format!("{edit} {read} {edit} unreachable")).fails_open().load();
        let mut outer = first.next(request());
        let (mut host, _) = second.bypassed(std::mem::replace(outer.host_mut(), get()));
        let mut expected = trailers();
        expected.add(b"t", b"first");
        assert_eq!(host.request.take_body(), (BODY.to_vec(), expected), "{read:?}");
    }
}
