//! The result of `handle_request`, and its effects.

use http_wasm_host::{InMemoryHost, Outcome, Pinned};

use crate::support::{Note, Probe, Wat, block_on, get, guest, number, proceeds};

/// A guest that returns `ctx_next` and notes the parameters of `handle_response`.
fn returns(ctx_next: u64) -> Probe<InMemoryHost> {
    proceeds(&format!("(return (i64.const {ctx_next:#x}))"))
        .on_response("(call $note (local.get $req_ctx)) (call $note (local.get $is_error))")
        .load()
}

#[test]
fn any_non_zero_next_proceeds() {
    for next in [1, 2, 0x8000_0000, 0xffff_ffff] {
        assert_eq!(returns(next).noted(get()), [number(0), number(0)], "{next}");
    }
}

#[test]
fn every_req_ctx_is_passed_to_handle_response() {
    for req_ctx in [0, 1, 1 << 31, u64::from(u32::MAX)] {
        assert_eq!(returns(req_ctx << 32 | 1).noted(get()), [number(req_ctx), number(0)]);
    }
}

#[test]
fn is_error_is_1_only_when_the_next_handler_gave_no_response_at_all() {
    let probe = returns(1);
    for status in [200, 404, 500, 502, 504] {
        probe.run(get(), |next| next.status = status);
        assert_eq!(probe.notes(), [number(0), number(0)], "{status} is a response");
    }
    block_on(probe.next(get()).handle_error()).unwrap();
    assert_eq!(probe.notes(), [number(0), number(1)]);
}

#[test]
fn handle_response_is_not_called_if_next_is_zero_whatever_req_ctx_is() {
    for ctx_next in [0, 1 << 32, 0xffff_ffff << 32] {
        let probe = returns(ctx_next);
        assert!(matches!(probe.outcome(get()), Ok(Outcome::Respond(_))));
        assert_eq!(probe.notes(), []);
    }
}

#[test]
fn a_guest_that_stops_returns_its_instance_at_once() {
    let probe = returns(7 << 32);
    for _ in 0..3 {
        probe.respond(get());
    }
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.created), (1, 1, 1));
}

/// Stores the length of the request's URI in a global, and notes it in `handle_response`.
fn remembers() -> Wat {
    proceeds("(global.set $state (call $get_uri BUF 0))")
        .item("(global $state (mut i32) (i32.const 0))")
        .on_response("(call $note (global.get $state))")
}

#[test]
fn handle_response_runs_on_the_instance_of_its_handle_request_when_interleaved() {
    let probe = remembers().load();
    let uri = |len: usize| format!("/{}", "x".repeat(len - 1));
    let mut open: Vec<Pinned<_>> = (1..=8).map(|n| probe.next(InMemoryHost::new("GET", &uri(n)))).collect();
    assert_eq!(probe.stats().live, 8);
    let mut order = Vec::new();
    for at in [3, 0, 5, 2, 0, 1, 1, 0] {
        let pinned = open.remove(at);
        block_on(pinned.handle_response()).unwrap();
        // The instance that was returned last is the one that answers.
        order.extend(probe.notes());
    }
    let expected: Vec<Note> = [4, 1, 8, 5, 2, 6, 7, 3].map(number).to_vec();
    assert_eq!(order, expected);
    assert_eq!((probe.stats().live, probe.stats().idle), (8, 8));
}

#[test]
fn requests_one_after_the_other_use_one_instance() {
    let probe = guest()
        .item("(global $count (mut i32) (i32.const 0))")
        .on_response("(global.set $count (i32.add (global.get $count) 1)) (call $note (global.get $count))")
        .load();
    for _ in 0..3 {
        probe.run(get(), |_| {});
    }
    assert_eq!(probe.notes(), [number(1), number(2), number(3)]);
    assert_eq!(probe.stats().created, 1);
}

#[test]
fn the_futures_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let probe = guest().load();
    is_send(&probe.0);
    is_send(&probe.0.handle_request(get()));
    let pinned = probe.next(get());
    is_send(&pinned);
    is_send(&pinned.handle_response());
}
