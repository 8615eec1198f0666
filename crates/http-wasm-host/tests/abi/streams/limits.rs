//! Limits of messages that are sent while the guest is writing them.

use std::thread::sleep;
use std::time::Duration;

use http_wasm_host::Limits;

use super::open::{
    MARKS_REQUEST, MARKS_RESPONSE, OpenMessage, OpenRequest, begin_request, begin_response, streams_request,
    streams_response,
};
use crate::support::{BUFFER_REQUEST, block_on, eof, get};

/// Takes the piece "begun", and after a while, "late".
fn takes_its_time(open: &mut impl OpenMessage) {
    assert_eq!(open.read(), "begun");
    sleep(Duration::from_millis(400));
    assert_eq!(open.read(), "");
    open.original().finish(None);
    assert_eq!(open.rest().unwrap().0, b"late");
}

#[test]
fn only_the_limit_for_streams_applies_to_a_stream() {
    let limits = |total, stream_total| Limits {
        total: Duration::from_millis(total),
        stream_total: Duration::from_millis(stream_total),
        ..Limits::default()
    };
    let slow = r#"(call $write_body 0 "begun") (call $read 0 LIMIT) (call $write_body 0 "late")"#;
    let request = || streams_request(slow);
    let response =
        || streams_response(&slow.replace("body 0", "body 1").replace("(call $read 0", "(call $read 1"));
    takes_its_time(&mut begin_request(&request().limits(limits(200, 600_000)).load(), get(), ""));
    let probe = response().limits(limits(200, 600_000)).load();
    takes_its_time(&mut begin_response(&probe, get(), "", |_| {}));

    let probe = request().limits(limits(600_000, 100)).load();
    let mut open = begin_request(&probe, get(), "");
    assert_eq!(open.read(), "begun");
    sleep(Duration::from_millis(200));
    open.run_guest();
    assert!(open.rest().is_err());
    let error = open.end().unwrap_err().to_string();
    assert!(error.contains("time limit of 100ms"), "{error}");
    let probe = response().limits(limits(600_000, 1)).load();
    let mut open = begin_response(&probe, get(), "", |_| {});
    assert_eq!(open.piece(), "begun");
    sleep(Duration::from_millis(20));
    let error = open.rest().unwrap_err().to_string();
    assert!(error.contains("time limit of 1ms"), "{error}");
}

#[test]
fn a_limit_that_expires_during_a_write_breaks_the_response_off() {
    let limits = Limits { stream_total: Duration::from_millis(1), ..Limits::default() };
    let probe = streams_response(MARKS_RESPONSE).limits(limits).load();
    let mut open = begin_response(&probe, get(), "one", |_| {});
    assert_eq!(open.piece(), "one");
    sleep(Duration::from_millis(20));
    // The guest could write the next piece, if the limit hadn't expired.
    let error = open.rest().unwrap_err().to_string();
    assert!(error.contains("time limit of 1ms"), "{error}");
}

#[test]
fn a_next_handler_that_has_responded_must_continue_to_read() {
    let limits = Limits { stream_stall: Duration::from_millis(50), ..Limits::default() };
    let probe = streams_request(&format!("{MARKS_REQUEST} (call $read 0 LIMIT)")).limits(limits).load();
    let stalls = |open: &mut OpenRequest| {
        open.run_guest();
        sleep(Duration::from_millis(200));
        open.run_guest();
        open.ended.is_some()
    };
    let mut open = begin_request(&probe, get(), "one");
    assert!(!stalls(&mut open), "there is no answer yet");
    open.guest.as_mut().unwrap().on_response();
    assert_eq!(open.read(), "one!");
    assert!(!stalls(&mut open), "it waits for the client");
    open.client.push("two");
    assert!(stalls(&mut open));
    let error = open.rest().unwrap_err().to_string();
    assert!(error.contains("didn't read the rest"), "{error}");
    block_on(open.passed().handle_response()).unwrap();
    assert_eq!(probe.notes(), [eof("")]);
}

/// Passes more than any limit for held bytes.
fn passes_much(open: &mut impl OpenMessage) {
    for _ in 0..10 {
        open.original().push("12345678");
        assert!(open.read().ends_with("12345678!"));
    }
}

#[test]
fn streamed_writes_are_not_limited() {
    let limits = Limits { written_bytes: 10, replay_bytes: 10, ..Limits::default() };
    let wat = streams_request(MARKS_REQUEST).features(BUFFER_REQUEST).fails_open();
    passes_much(&mut begin_request(&wat.limits(limits.clone()).load(), get(), "12345678"));
    let probe = streams_response(MARKS_RESPONSE).limits(limits).load();
    passes_much(&mut begin_response(&probe, get(), "12345678", |_| {}));
}
