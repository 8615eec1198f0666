//! Guests that fail: what the error says, and what happens to the instance.

use std::time::{Duration, Instant};

use http_wasm_host::{Error, ErrorKind, InMemoryHost, Limits, Outcome, Phase};

use crate::support::{
    BUFFER_RESPONSE, ByHand, Probe, Wat, block_on, get, guest, number, patient, proceeds, stops,
};

/// Counts requests in a global, so that a reused instance would be noticed.
const COUNTS: &str = "(global.set $count (i32.add (global.get $count) 1)) (call $note (global.get $count))";
const COUNT: &str = "(global $count (mut i32) (i32.const 0))";

/// A guest that fails in `handle_request` when the URI is longer than one byte.
fn fails(body: &str) -> Wat {
    proceeds(&format!("{COUNTS} (if (i32.gt_u (call $get_uri BUF 0) 1) (then {body}))"))
        .item(COUNT)
        .item("(func $rec (call $rec) (call $rec))")
        .item("(func $boom unreachable)")
}

/// The same in `handle_response`.
fn fails_after(body: &str) -> Wat {
    proceeds(COUNTS)
        .on_response(&format!("(if (i32.gt_u (call $get_uri BUF 0) 1) (then {body}))"))
        .item(COUNT)
        .item("(func $rec (call $rec) (call $rec))")
        .item("(func $boom unreachable)")
}

fn bad() -> InMemoryHost {
    InMemoryHost::new("GET", "/bad")
}

/// Makes the guest fail once, and checks that its instance is dropped and the next request is served by a clean one.
#[track_caller]
fn failure(probe: &Probe<InMemoryHost>) -> Error {
    probe.run(get(), |_| {});
    let error = probe.error(bad());
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.dropped_failed), (0, 0, 1));
    probe.run(get(), |_| {});
    assert_eq!(probe.notes(), [number(1)], "the next request is the first one of its instance");
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.created), (1, 1, 2));
    error
}

#[test]
fn a_trap_in_either_phase_has_a_kind_and_a_phase_and_drops_the_instance() {
    for (probe, phase) in
        [(fails("(call $boom)"), Phase::Request), (fails_after("(call $boom)"), Phase::Response)]
    {
        let error = failure(&probe.load());
        assert_eq!((error.kind(), error.phase(), error.function()), (ErrorKind::Trap, Some(phase), None));
        assert_eq!(error.guest(), "probe");
        let message = error.to_string();
        for part in ["probe", &phase.to_string(), "unreachable"] {
            assert!(message.contains(part), "{message}");
        }
        let backtrace = error.backtrace().unwrap();
        assert!(backtrace.contains("boom"), "{backtrace}");
        assert!(backtrace.contains("handle_re"), "{backtrace}");
        assert!(!message.contains("boom"), "the stack is not in the message: {message}");
    }
}

#[test]
fn every_kind_of_trap_is_a_trap() {
    for (body, says) in [
        ("unreachable", "unreachable"),
        ("(drop (i32.div_u 1 (global.get $zero)))", "zero"),
        ("(drop (i32.load (i32.const 65536)))", "out of bounds"),
        ("(i32.store (i32.const -1) 1)", "out of bounds"),
        ("(memory.fill 65535 0 2)", "out of bounds"),
        ("(drop (i32.trunc_f64_s (f64.const 1e300)))", "integer"),
        ("(call_indirect $table (i32.const 5))", "table"),
    ] {
        let items = "(global $zero i32 (i32.const 0)) (table $table 1 funcref)";
        let error = failure(&fails(body).item(items).load());
        assert_eq!(error.kind(), ErrorKind::Trap, "{body}: {error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn endless_recursion_is_a_trap() {
    for probe in [fails("(call $rec)"), fails_after("(call $rec)")] {
        let error = failure(&probe.load());
        assert_eq!(error.kind(), ErrorKind::Trap, "{error}");
        assert!(error.to_string().contains("stack"), "{error}");
    }
}

#[test]
fn endless_recursion_on_a_fiber_is_a_trap() {
    let probe = fails("(call $rec)").load();
    let mut host = bad();
    // A body that the guest may have to wait for.
    let _feed = host.request.feed_body();
    let error = probe.error(host);
    assert_eq!(error.kind(), ErrorKind::Trap, "{error}");
}

#[test]
fn a_refused_host_call_drops_the_instance_and_has_a_backtrace() {
    let error = failure(&fails("(call $set_status_code 7)").load());
    assert_eq!((error.kind(), error.function()), (ErrorKind::HostCall, Some("set_status_code")));
    assert!(error.backtrace().unwrap().contains("handle_request"), "{:?}", error.backtrace());
}

#[test]
fn the_backtrace_names_functions_around_a_call_that_can_wait() {
    let error = failure(&fails("(drop (call $read_body 0 BUF 0))").load());
    assert_eq!(error.function(), Some("read_body"));
    assert!(error.backtrace().unwrap().contains("handle_request"), "{:?}", error.backtrace());
}

fn short() -> Limits {
    Limits { deadline: Duration::from_millis(50), ..Limits::default() }
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    for (probe, phase) in
        [(fails("(loop $l (br $l))"), Phase::Request), (fails_after("(loop $l (br $l))"), Phase::Response)]
    {
        let probe = probe.limits(short()).load();
        // The first time, the guest runs as if it were quick, and later as one known to be slow.
        let error = failure(&probe);
        for error in [error, probe.error(bad()), probe.error(bad())] {
            assert_eq!((error.kind(), error.phase()), (ErrorKind::Deadline, Some(phase)), "{error}");
            assert!(error.to_string().contains("50ms"), "{error}");
        }
        assert_eq!(probe.stats().dropped_failed, 3);
    }
}

#[test]
fn an_endless_loop_of_host_calls_ends_at_its_deadline() {
    let probe = fails("(loop $l (drop (call $get_method BUF LIMIT)) (br $l))").limits(short()).load();
    assert_eq!(failure(&probe).kind(), ErrorKind::Deadline);
}

#[test]
fn an_endless_loop_in_a_call_that_may_wait_ends_at_its_deadline() {
    let probe = stops("(loop $l (br $l))").limits(short()).load();
    let mut host = get();
    let _feed = host.request.feed_body();
    let started = Instant::now();
    assert_eq!(probe.error(host).kind(), ErrorKind::Deadline);
    assert!(started.elapsed() >= Duration::from_millis(40), "{:?}", started.elapsed());
}

#[test]
fn waiting_for_a_body_does_not_count_against_the_deadline() {
    // Ten waits of 20 ms, with a deadline of 50 ms.
    let probe = stops("(call $read_all 0 1)").pages(2).limits(short()).load();
    let mut host = get();
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    for _ in 0..10 {
        call.waits();
        std::thread::sleep(Duration::from_millis(20));
        feed.push("x");
    }
    feed.finish(None);
    assert!(matches!(call.ends(), Ok(Outcome::Respond(_))));
}

#[test]
fn a_loop_after_waiting_ends_at_its_deadline() {
    let probe = stops("(call $read 0 1) (loop $l (br $l))").limits(short()).load();
    let mut host = get();
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    call.waits();
    feed.push("x");
    assert_eq!(call.ends().unwrap_err().kind(), ErrorKind::Deadline);
}

#[test]
fn each_phase_has_its_own_deadline() {
    let spin = "(global.set $n 0)
                (loop $l (global.set $n (i32.add (global.get $n) 1))
                  (br_if $l (i32.lt_u (global.get $n) (i32.const 100000000))))";
    let load = |deadline| {
        let item = "(global $n (mut i32) (i32.const 0))";
        proceeds(spin).on_response(spin).item(item).limits(Limits { deadline, ..Limits::default() }).load()
    };
    let slow = load(Duration::from_secs(60));
    slow.run(get(), |_| {});
    let mut fastest = Duration::MAX;
    // The machine may be slower this time, but not every time.
    assert!((0..8).any(|_| {
        let started = Instant::now();
        slow.run(get(), |_| {});
        fastest = fastest.min(started.elapsed());
        // More than one phase takes, and less than both.
        load(fastest * 3 / 4).try_run(get(), |_| {}).is_ok()
    }));
}

#[test]
fn a_guest_that_computes_for_long_but_within_its_deadline_is_served() {
    let spin = "(loop $l (global.set $n (i32.add (global.get $n) 1))
                  (br_if $l (i32.rem_u (global.get $n) (i32.const 20000000))))";
    let probe = stops(spin).item("(global $n (mut i32) (i32.const 0))").limits(patient()).load();
    for _ in 0..3 {
        probe.respond(get());
    }
    assert_eq!(probe.stats().created, 1);
}

#[test]
fn a_failure_does_not_affect_other_requests_of_the_guest() {
    let probe = fails_after("unreachable").load();
    let others: Vec<_> = (0..4).map(|_| probe.next(get())).collect();
    assert_eq!(probe.error(bad()).kind(), ErrorKind::Trap);
    for pinned in others {
        assert!(block_on(pinned.handle_response()).is_ok());
    }
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.dropped_failed), (4, 4, 1));
}

#[test]
fn a_trap_after_an_error_of_the_next_handler_is_typed_and_drops_the_instance() {
    let probe =
        guest().features(BUFFER_RESPONSE).on_response("(if (local.get $is_error) (then unreachable))").load();
    probe.run(get(), |_| {});
    let error = block_on(probe.next(get()).handle_error()).unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Trap, Some(Phase::Response)));
    assert_eq!((probe.stats().live, probe.stats().dropped_failed), (0, 1));
}
