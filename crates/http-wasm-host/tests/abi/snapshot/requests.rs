//! Requests served by instances that start from a snapshot: these wait, fail and return to the pool like others.

use http_wasm_host::{ErrorKind, InMemoryHost, Outcome, Snapshot};

use super::{load, shows, snapshotted};
use crate::support::{ByHand, Wat, block_on, eof, get, guest, number, proceeds};

#[test]
fn a_guest_waits_for_a_body_after_a_snapshot() {
    let probe = snapshotted(&proceeds("(call $read 0 100)").on_initialize("(call $note 1)"));
    let mut host = InMemoryHost::new("POST", "/");
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    call.waits();
    feed.push("abc");
    feed.finish(None);
    let Ok(Outcome::Next(pinned)) = call.ends() else { panic!("the guest proceeds") };
    drop(call);
    block_on(pinned.handle_response()).unwrap();
    assert_eq!(probe.notes(), [number(1), eof("abc")]);
}

#[test]
fn all_instances_of_a_snapshot_can_sleep_in_requests_concurrently() {
    let import = r#"(import "wasi_snapshot_preview1" "poll_oneoff"
      (func $poll (param i32 i32 i32 i32) (result i32)))"#;
    // 300 ms on the monotonic clock.
    let data = r#"(data (i32.const 144) "\01\00\00\00\00\00\00\00\00\a3\e1\11")"#;
    let sleep = "(i32.store (i32.const 0)
        (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 4)))
      (call $write_body";
    let text =
        shows(import, data, "(i32.store (i32.const 8) (i32.const 7))").replace("(call $write_body", sleep);
    let probe = load(&text, Snapshot::On);
    let mut calls: Vec<_> = (0..3).map(|_| ByHand::new(probe.0.handle_request(get()))).collect();
    calls.iter_mut().for_each(ByHand::waits);
    for mut call in calls {
        crate::support::eventually("the timer wakes the guest", || call.wakes() > 0);
        let Ok(Outcome::Next(pinned)) = call.ends() else { panic!("the guest proceeds") };
        let seen = block_on(pinned.handle_response()).unwrap().host.response.take_body().0;
        assert_eq!(seen, [0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    }
    assert_eq!(probe.stats().created, 3);
}

#[test]
fn a_trap_has_the_same_backtrace_as_without_a_snapshot() {
    let wat = || {
        let boom = "(func $boom (drop (call $read_body (i32.const 0) (i32.const 0) (i32.const 0))))";
        proceeds("(call $boom)").item(boom).on_initialize("(call $note 1)")
    };
    let [without, with] = [wat().load(), snapshotted(&wat())].map(|probe| probe.error(get()));
    assert_eq!(with.kind(), ErrorKind::HostCall);
    assert_eq!(with.to_string(), without.to_string());
    assert_eq!(with.backtrace(), without.backtrace());
    assert!(with.backtrace().unwrap().contains(" - boom"), "{:?}", with.backtrace());
}

#[test]
fn a_failed_instance_is_replaced_by_one_that_starts_from_the_snapshot() {
    let fails_at_two = "(call $note 9)
      (if (i32.eq (global.get $notes_end) (i32.const 32786)) (then unreachable))";
    let wat: Wat = guest().on_initialize("(call $note 1)").on_response(fails_at_two);
    let probe = snapshotted(&wat);
    for _ in 0..2 {
        assert_eq!(probe.error(get()).kind(), ErrorKind::Trap);
    }
    assert_eq!(probe.notes(), [number(1)]);
    assert_eq!(probe.stats().created, 3);
}
