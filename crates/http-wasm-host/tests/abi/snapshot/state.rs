//! What a snapshot preserves from initialisation for each instance.

use http_wasm_host::{Limits, Snapshot};

use super::{hash_of_memory, load, shown, shows, shows_many_segments, snapshotted, try_snapshot};
use crate::support::{BUFFER_RESPONSE, block_on, engine, get, guest, number, text};

#[test]
fn each_instance_has_the_state_after_start_function_initialize_and_start_in_order() {
    let guest = guest()
        .on_start("(call $note 1)")
        .on_initialize("(call $note 2)")
        .on_command("(call $note 3)")
        .on_response("(call $note 4)");
    let probe = snapshotted(&guest);
    let (first, second) = (probe.next(get()), probe.next(get()));
    for pinned in [first, second] {
        block_on(pinned.handle_response()).unwrap();
        assert_eq!(probe.notes(), [1, 2, 3, 4].map(number));
    }
    assert_eq!(probe.stats().created, 2);
}

#[test]
fn each_kind_of_start_up_code_runs_only_before_the_snapshot() {
    for start in
        [crate::support::Wat::on_start, crate::support::Wat::on_initialize, crate::support::Wat::on_command]
    {
        let probe = snapshotted(&start(guest(), "(call $note 1)"));
        let pinned = [(); 3].map(|()| probe.next(get()));
        for pinned in pinned {
            block_on(pinned.handle_response()).unwrap();
            assert_eq!(probe.notes(), [number(1)]);
        }
    }
}

#[test]
fn instances_of_one_snapshot_share_no_state_afterwards() {
    let counts = "(i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
                  (global.set $count (i32.add (global.get $count) (i32.const 1)))
                  (i32.store8 (i32.const 1) (global.get $count))";
    let text = format!(
        r#"(module
          (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
          (memory (export "memory") 1)
          (global $count (mut i32) (i32.const 0))
          (func $count {counts})
          (export "_initialize" (func $count))
          (func (export "handle_request") (result i64)
            (call $count)
            (call $write_body (i32.const 1) (i32.const 0) (i32.const 2))
            (i64.const 1))
          (func (export "handle_response") (param i32 i32)))"#
    );
    let probe = load(&text, Snapshot::On);
    assert_eq!(shown(&probe, 3), vec![vec![2, 2]; 3]);
    assert_eq!(shown(&probe, 4).into_iter().map(|seen| seen[0]).collect::<Vec<_>>(), [3, 3, 3, 2]);
}

#[test]
fn globals_of_every_number_type_are_in_the_snapshot_even_if_not_exported() {
    let items = r#"
      (global $stack_pointer (mut i32) (i32.const 65536))
      (global $i64 (mut i64) (i64.const 0)) (global $f32 (mut f32) (f32.const 0))
      (global $f64 (mut f64) (f64.const 0)) (global $v128 (mut v128) (v128.const i64x2 0 0))
      (global $constant i32 (i32.const 7))
      (func $show
        (i32.store8 (i32.const 0) (i32.eq (global.get $stack_pointer) (i32.const 65520)))
        (i32.store8 (i32.const 1) (i64.eq (global.get $i64) (i64.const -2)))
        (i32.store8 (i32.const 2) (i32.eq (i32.reinterpret_f32 (global.get $f32)) (i32.const 0x7fa00001)))
        (i32.store8 (i32.const 3) (f64.eq (global.get $f64) (f64.const 0.1)))
        (i32.store8 (i32.const 4) (i64x2.extract_lane 1 (global.get $v128)))
        (i32.store8 (i32.const 5) (global.get $constant)))"#;
    let set = "(global.set $stack_pointer (i32.sub (global.get $stack_pointer) (i32.const 16)))
      (global.set $i64 (i64.const -2)) (global.set $f32 (f32.const nan:0x200001))
      (global.set $f64 (f64.const 0.1)) (global.set $v128 (v128.const i64x2 0 9))";
    let text = shows("", items, set)
        .replace("i32.store8 (i32.const 4) (i64x2", "i64.store8 (i32.const 4) (i64x2")
        .replace("(call $write_body", "(call $show) (call $write_body");
    let mut expected = vec![1, 1, 1, 1, 9, 7];
    expected.resize(16, 0);
    assert_eq!(shown(&load(&text, Snapshot::On), 2), vec![expected; 2]);
}

#[test]
fn grown_memory_has_its_new_size_and_content_in_each_instance() {
    let grow = "(drop (memory.grow (i32.const 3)))
                (memory.fill (i32.const 262000) (i32.const 7) (i32.const 16))";
    let text = shows("", "", grow).replace(
        "(call $write_body (i32.const 1) (i32.const 0)",
        "(call $write_body (i32.const 1) (i32.const 262000)",
    );
    let probe = load(&text, Snapshot::On);
    assert_eq!(probe.0.facts().memory_bytes, 4 * 65_536);
    assert_eq!(shown(&probe, 2), vec![vec![7; 16]; 2]);
}

#[test]
fn multiple_and_64_bit_memories_are_in_the_snapshot() {
    for (ty, constant) in [("", "i32"), ("i64", "i64")] {
        let items = format!("(memory $other {ty} 1) (data (memory $other) ({constant}.const 2) \"ab\")");
        let write = format!("(i32.store8 $other ({constant}.const 65530) (i32.const 9))");
        let show = format!(
            "(i32.store8 (i32.const 0) (i32.load8_u $other ({constant}.const 65530)))
             (i32.store8 (i32.const 1) (i32.load8_u $other ({constant}.const 3)))
             (call $write_body"
        );
        let text = shows("", &items, &write).replace("(call $write_body", &show);
        for seen in shown(&load(&text, Snapshot::On), 2) {
            assert_eq!(seen[..2], [9, b'b']);
        }
    }
}

#[test]
fn memory_with_more_pieces_than_allowed_segments_is_captured_whole() {
    // Every tenth byte, 20,000 in total, and a hash of all memory after the hash itself.
    let items = hash_of_memory(8, 262_144);
    let fill = "(local $at i32)
      (drop (memory.grow (i32.const 3)))
      (local.set $at (i32.const 100))
      (loop $next
        (i32.store8 (local.get $at) (i32.or (i32.shr_u (local.get $at) (i32.const 4)) (i32.const 1)))
        (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 10))) (i32.const 200100))))
      (i64.store (i32.const 0) (call $hash))";
    let compare =
        "(i32.store8 (i32.const 8) (i64.eq (call $hash) (i64.load (i32.const 0)))) (call $write_body";
    let text = shows("", &items, fill).replace("(call $write_body", compare);
    for seen in shown(&load(&text, Snapshot::On), 2) {
        assert!(seen[..8] != [0; 8] && seen[8] == 1, "{seen:?}");
    }
}

#[test]
fn data_segments_beyond_the_snapshot_limit_are_joined_in_any_order() {
    let (text, hash) = shows_many_segments("", "(i32.store8 (i32.const 8) (i32.const 1))");
    for snapshot in [Snapshot::Off, Snapshot::On] {
        for seen in shown(&load(&text, snapshot), 2) {
            assert_eq!((&seen[..8], seen[8]), (&hash.to_le_bytes()[..], 1), "{snapshot:?}");
        }
    }
}

#[test]
fn data_overwritten_with_zeros_stays_zero() {
    let items = r#"(data (i32.const 0) "abcdefgh") (data (i32.const 8) "ij")"#;
    let text = shows("", items, "(i64.store (i32.const 1) (i64.const 0))");
    let probe = load(&text, Snapshot::On);
    assert_eq!(shown(&probe, 2), vec![b"a\0\0\0\0\0\0\0\0j\0\0\0\0\0\0".to_vec(); 2]);
}

#[test]
fn passive_data_is_available_to_requests() {
    let items = r#"(data (i32.const 100) "active") (data $later "later")"#;
    let init = "(memory.init $later (i32.const 0) (i32.const 0) (i32.const 5))";
    let text = shows("", items, "(i32.store8 (i32.const 5) (i32.const 33))")
        .replace("(call $write_body", &format!("{init} (call $write_body"));
    let probe = load(&text, Snapshot::On);
    assert_eq!(shown(&probe, 1), [b"later!\0\0\0\0\0\0\0\0\0\0"]);
}

#[test]
fn calls_through_tables_work_as_before() {
    let items = "(type $answer (func (result i32))) (table 2 funcref) (elem (i32.const 0) $one $two)
      (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))";
    let call = |at, function| {
        format!("(i32.store8 (i32.const {at}) (call_indirect (type $answer) (i32.const {function})))")
    };
    let text = shows("", items, &call(0, 0))
        .replace("(call $write_body", &format!("{} (call $write_body", call(1, 1)));
    let probe = load(&text, Snapshot::On);
    assert_eq!(shown(&probe, 2), vec![[1, 2].into_iter().chain([0; 14]).collect::<Vec<u8>>(); 2]);
}

#[test]
fn features_enabled_at_start_up_apply_to_the_requests_of_all_instances() {
    let guest = guest().features(BUFFER_RESPONSE).on_response("(call $set_status_code 418)");
    let probe = snapshotted(&guest);
    assert_eq!(probe.0.facts().features.bits(), BUFFER_RESPONSE);
    let pinned = [(); 2].map(|()| probe.next(get()));
    for pinned in pinned {
        assert_eq!(block_on(pinned.handle_response()).unwrap().host.status, 418);
    }
}

#[test]
fn configuration_read_at_start_up_is_in_the_snapshot() {
    let guest = guest().config(b"settings").on_start("(call $note_text (call $get_config BUF LIMIT))");
    assert_eq!(snapshotted(&guest).notes(), [text("settings")]);
}

#[test]
fn a_guest_without_start_up_code_needs_no_snapshot_and_is_never_refused() {
    let table = guest().item("(table $t 1 funcref) (func $f (table.set $t (i32.const 0) (ref.null func)))");
    assert!(snapshotted(&table).0.facts().snapshot.is_none());
    let facts = snapshotted(&guest().on_start("(call $note 1)")).0.facts().snapshot;
    assert!(facts.unwrap().module_bytes > 100);
}

#[test]
fn instances_may_grow_to_the_same_limit_as_without_a_snapshot() {
    let limits = Limits { memory_bytes: 4 * 65_536, ..Limits::default() };
    let grow = "(call $note (memory.grow 1))";
    let wat = guest().limits(limits.clone()).on_start(&grow.repeat(2)).on_response(&grow.repeat(2));
    let probe = snapshotted(&wat);
    assert_eq!(probe.noted(get()), [1, 2, 3, 0xffff_ffff].map(number));
    let small = Limits { memory_bytes: 2 * 65_536, ..limits };
    let wat = guest().limits(small).on_start(&grow.repeat(2));
    assert_eq!(snapshotted(&wat).notes(), [1, 0xffff_ffff].map(number));
}

#[test]
fn guests_of_different_host_types_can_share_a_snapshot() {
    let wat = guest().on_start("(call $note 1)");
    let other =
        wat.builder(engine()).snapshot(Snapshot::On).load::<http_wasm_host::HttpHost>(wat.text().as_bytes());
    assert!(other.unwrap().facts().snapshot.is_some() && try_snapshot(&wat).is_ok());
}

#[test]
fn a_snapshot_does_not_capture_the_enabled_log_level() {
    let levels = |levels: &str| {
        levels.split(' ').map(|level| format!("(call $note (call $log_enabled {level}))")).collect::<String>()
    };
    let probe = snapshotted(&guest().on_initialize(&levels("-1 0 1 2 3 7")));
    probe.run(get(), |_| {});
    assert_eq!(probe.notes(), [1, 1, 1, 1, 0, 0].map(number));
}
