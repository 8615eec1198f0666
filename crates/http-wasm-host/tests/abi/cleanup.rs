//! Requests that end early: clean-up calls, and instances that are returned to the pool or dropped.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use http_wasm_host::{ErrorKind, InMemoryHost, Limits, Outcome};

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, ByHand, Probe, block_on, eventually, get, guest, number, proceeds, stops,
};

/// A guest that notes the parameters of `handle_response`.
fn notes_end(req_ctx: u64) -> Probe<InMemoryHost> {
    proceeds(&format!("(return (i64.const {:#x}))", req_ctx << 32 | 1))
        .on_response("(call $note (local.get $req_ctx)) (call $note (local.get $is_error))")
        .load()
}

#[track_caller]
fn all_idle(probe: &Probe<InMemoryHost>, count: u64) {
    eventually("all instances are idle", || {
        let stats = probe.stats();
        (stats.live, stats.idle) == (count, count)
    });
}

#[test]
fn dropping_a_pinned_instance_calls_handle_response_with_is_error_without_an_executor() {
    let probe = notes_end(0xdead_beef);
    drop(probe.next(get()));
    all_idle(&probe, 1);
    assert_eq!(probe.notes(), [0xdead_beef, 1].map(number));
    let stats = probe.stats();
    assert_eq!((stats.created, stats.dropped_unclean, stats.dropped_failed), (1, 0, 0));
}

#[test]
fn a_handle_response_call_that_was_never_polled_is_cleaned_up() {
    // A function with a loop isn't called before it is polled.
    let probe = proceeds("(return (i64.const 0x700000001))")
        .on_response("(loop) (call $note (local.get $req_ctx)) (call $note (local.get $is_error))")
        .load();
    drop(probe.next(get()).handle_response());
    all_idle(&probe, 1);
    assert_eq!(probe.notes(), [7, 1].map(number));
}

#[test]
fn a_panic_of_the_next_handler_is_cleaned_up() {
    let probe = notes_end(7);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _pinned = probe.next(get());
        resume_unwind(Box::new("the next handler panics"));
    }));
    assert!(panic.is_err());
    all_idle(&probe, 1);
    assert_eq!(probe.notes(), [7, 1].map(number));
}

#[test]
fn the_guest_handles_an_error_of_the_next_handler_before_the_call_returns() {
    let probe = notes_end(7);
    block_on(probe.next(get()).handle_error()).unwrap();
    assert_eq!(probe.stats().idle, 1);
    assert_eq!(probe.notes(), [7, 1].map(number));
}

#[test]
fn every_one_of_many_dropped_requests_is_cleaned_up_once() {
    let probe = proceeds("")
        .item("(global $cleaned (mut i32) (i32.const 0))")
        .on_response(
            "(if (local.get $is_error) (then (global.set $cleaned (i32.add (global.get $cleaned) 1))))
             (if (i32.eqz (local.get $is_error)) (then (call $note (global.get $cleaned))))",
        )
        .load();
    for _ in 0..20 {
        let open: Vec<_> = (0..50).map(|_| probe.next(get())).collect();
        drop(open);
        eventually("all are idle", || probe.stats().idle == probe.stats().live);
    }
    let open: Vec<_> = (0..probe.stats().live).map(|_| probe.next(get())).collect();
    let instances = open.len();
    let mut cleaned = 0;
    for pinned in open {
        block_on(pinned.handle_response()).unwrap();
        match &probe.notes()[..] {
            [crate::support::Note::Number(count)] => cleaned += count,
            notes => panic!("{notes:?}"),
        }
    }
    assert_eq!(cleaned, 1000);
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle), (instances as u64, instances as u64));
    assert_eq!(stats.dropped_unclean + stats.dropped_failed + stats.dropped_cancelled, 0);
}

#[test]
fn a_clean_up_call_that_traps_drops_the_instance_and_counts_as_failed() {
    let probe = guest().on_response("unreachable").load();
    drop(probe.next(get()));
    eventually("the instance is gone", || probe.stats().live == 0);
    assert_eq!(probe.stats().dropped_failed, 1);
    assert_eq!(probe.error(get()).kind(), ErrorKind::Trap);
}

#[test]
fn a_clean_up_call_that_never_ends_is_stopped_at_its_deadline() {
    let limits = Limits { deadline: std::time::Duration::from_millis(50), ..Limits::default() };
    let probe = guest().on_response("(loop $l (br $l))").limits(limits).load();
    drop(probe.next(get()));
    eventually("the instance is gone", || probe.stats().live == 0);
    assert_eq!(probe.stats().dropped_failed, 1);
}

#[test]
fn a_clean_up_call_that_waits_forever_is_abandoned_and_counted() {
    let probe = guest().features(BUFFER_RESPONSE).on_response("(drop (call $read_body 1 BUF 10))").load();
    let mut pinned = probe.next(get());
    let feed = pinned.host_mut().response.feed_body();
    drop(pinned);
    eventually("the instance is gone", || probe.stats().live == 0);
    assert_eq!(probe.stats().dropped_unclean, 1);
    feed.finish(None);
    // Meanwhile, other clean-ups run, and they continue to do so.
    drop(probe.next(get()));
    all_idle(&probe, 1);
}

#[test]
fn response_changes_in_a_clean_up_call_are_allowed_and_discarded() {
    let probe = guest()
        .features(BUFFER_REQUEST | BUFFER_RESPONSE)
        .on_response(
            "(call $set_status_code 500) (call $write_body 1 \"x\") (call $set_header_value 1 \"a\" \"b\")
             (call $read 0 10) (call $read 1 10) (call $note (call $get_status_code))",
        )
        .load();
    drop(probe.next(get()));
    all_idle(&probe, 1);
    let empty = crate::support::eof("");
    assert_eq!(probe.notes(), [empty.clone(), empty, number(500)]);
}

#[test]
fn dropping_a_call_of_handle_request_inside_the_guest_drops_the_instance() {
    let probe = stops("(call $read 0 10)").load();
    let mut host = get();
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    call.waits();
    assert_eq!((probe.stats().live, probe.stats().idle), (1, 0));
    drop(call);
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.dropped_cancelled), (0, 0, 1));
    assert_eq!(stats.dropped_failed + stats.dropped_unclean, 0);
    // The body is no longer read, but its sender may still deliver.
    feed.push("late");
    feed.finish(None);
    probe.respond(get());
    assert_eq!((probe.stats().live, probe.stats().idle), (1, 1));
}

#[test]
fn dropping_a_call_of_handle_response_inside_the_guest_drops_the_instance() {
    let probe = guest().features(BUFFER_RESPONSE).on_response("(call $read 1 10)").load();
    let mut pinned = probe.next(get());
    let feed = pinned.host_mut().response.feed_body();
    let mut call = ByHand::new(pinned.handle_response());
    call.waits();
    feed.push("abc");
    call.waits();
    drop(call);
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.dropped_cancelled), (0, 0, 1));
    probe.run(get(), |_| {});
    assert_eq!((probe.stats().live, probe.stats().idle), (1, 1));
}

#[test]
fn dropping_a_call_that_waits_for_trailers_drops_the_instance() {
    let probe = proceeds("(drop (call $get_header_names 2 BUF LIMIT))").features(BUFFER_REQUEST).load();
    let mut host = get();
    let _feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    call.waits();
    drop(call);
    assert_eq!((probe.stats().live, probe.stats().dropped_cancelled), (0, 1));
}

#[test]
fn a_call_of_handle_request_that_was_never_polled_takes_no_instance() {
    // A function with a loop isn't called before it is polled.
    let probe = proceeds("(loop)").load();
    drop(probe.0.handle_request(get()));
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.created), (1, 1, 1));
}

#[test]
fn a_dropped_outcome_is_cleaned_up() {
    let probe = notes_end(3);
    let mut host = get();
    let feed = host.request.feed_body();
    feed.push("never read");
    let outcome: Outcome<_> = probe.outcome(host).unwrap();
    drop(outcome);
    all_idle(&probe, 1);
    assert_eq!(probe.notes(), [3, 1].map(number));
}

#[test]
fn the_guest_stays_loaded_until_its_last_clean_up_is_done() {
    let probe = notes_end(1);
    let clone = probe.0.clone();
    let pinned = probe.next(get());
    drop(probe);
    drop(pinned);
    eventually("the clean-up", || clone.stats().idle == 1);
}
