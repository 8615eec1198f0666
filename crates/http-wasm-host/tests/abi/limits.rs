//! Limits: reached exactly, and exceeded by one.

use std::time::Duration;

use http_wasm_host::{BodyKind, Error, ErrorKind, InMemoryHost, Limits, LoadError, Phase};

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, feed, fill, get, guest, number, pattern, post, proceeds, stops,
};

fn limited(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

#[track_caller]
fn assert_limit(error: &Error, function: &str, kind: ErrorKind) {
    assert_eq!((error.kind(), error.function()), (kind, Some(function)), "{error}");
    assert!(error.to_string().contains("1000"), "the message names the limit: {error}");
}

fn replay() -> Limits {
    limited(|limits| limits.replay_bytes = 1000)
}

#[test]
fn reading_a_request_past_the_replay_limit_fails() {
    for step in [1, 64, 1000, 4096] {
        let probe = proceeds(&format!("(call $read_all 0 {step})"))
            .features(BUFFER_REQUEST)
            .pages(2)
            .limits(replay())
            .load();
        probe.run(post(&pattern(1000)), |next| assert_eq!(next.request.take_body().0.len(), 1000));
        for piece in [1, 100, 4096] {
            let mut host = get();
            feed(&mut host.request, pattern(1001).chunks(piece), None);
            let error = probe.error(host);
            assert_limit(&error, "read_body", ErrorKind::BodyTooLarge(BodyKind::Request));
            assert_eq!(error.phase(), Some(Phase::Request));
        }
    }
}

#[test]
fn reading_a_response_past_the_replay_limit_fails() {
    let probe = guest()
        .features(BUFFER_RESPONSE)
        .on_response("(call $read_all 1 64)")
        .pages(2)
        .limits(replay())
        .load();
    let run = |len| probe.try_run(get(), |next| fill(&mut next.response, &pattern(len)));
    assert_eq!(run(1000).unwrap().response.take_body().0.len(), 1000);
    let error = run(1001).unwrap_err();
    assert_limit(&error, "read_body", ErrorKind::BodyTooLarge(BodyKind::Response));
    assert_eq!(error.phase(), Some(Phase::Response));
}

#[test]
fn a_body_over_the_replay_limit_passes_if_the_guest_reads_less_of_it() {
    let body = pattern(100_000);
    let probe = proceeds("(call $read 0 1000)")
        .features(BUFFER_REQUEST | BUFFER_RESPONSE)
        .on_response("(call $read 1 1000)")
        .limits(replay())
        .load();
    let mut host = post(&body);
    feed(&mut host.request, body.chunks(4096), None);
    let mut host = probe.run(host, |next| {
        assert!(next.request.take_body().0 == body);
        fill(&mut next.response, &body);
    });
    assert!(host.response.take_body().0 == body);
}

#[test]
fn the_replay_limit_does_not_apply_to_a_consumed_body() {
    let probe = proceeds("(call $read_all 0 64)").pages(2).limits(replay()).load();
    probe.run(post(&pattern(100_000)), |_| {});
}

#[test]
fn reads_after_the_body_was_replaced_do_not_count_against_the_replay_limit() {
    for kind in [0, 1] {
        let calls = format!("(call $write_body {kind} \"new\") (call $read_all {kind} 64)");
        let probe = match kind {
            0 => proceeds(&calls).features(BUFFER_REQUEST),
            _ => guest().features(BUFFER_RESPONSE).on_response(&calls),
        };
        let probe = probe.pages(2).limits(replay()).load();
        let run = probe.try_run(post(&pattern(5000)), |next| fill(&mut next.response, &pattern(5000)));
        assert!(run.is_ok(), "{}", run.unwrap_err());
    }
}

#[test]
fn waiting_for_trailers_fails_past_the_replay_limit() {
    let names = |kind| format!("(drop (call $get_header_names {kind} BUF LIMIT))");
    let request = proceeds(&names(2)).features(BUFFER_REQUEST).limits(replay()).load();
    request.run(post(&pattern(1000)), |next| assert_eq!(next.request.take_body().0.len(), 1000));
    let error = request.error(post(&pattern(1001)));
    assert_limit(&error, "get_header_names", ErrorKind::BodyTooLarge(BodyKind::Request));

    let response = guest().features(BUFFER_RESPONSE).on_response(&names(3)).limits(replay()).load();
    let run = |len| response.try_run(get(), |next| fill(&mut next.response, &pattern(len)));
    assert_eq!(run(1000).unwrap().response.take_body().0.len(), 1000);
    assert_limit(&run(1001).unwrap_err(), "get_header_names", ErrorKind::BodyTooLarge(BodyKind::Response));
}

#[test]
fn waiting_for_trailers_of_an_endless_body_stops_at_the_replay_limit() {
    let probe = proceeds("(drop (call $get_header_names 2 BUF LIMIT))")
        .features(BUFFER_REQUEST)
        .limits(replay())
        .load();
    let mut host = get();
    let feed = host.request.feed_body();
    for piece in pattern(1001).chunks(7) {
        feed.push(piece.to_vec());
    }
    assert_eq!(probe.error(host).kind(), ErrorKind::BodyTooLarge(BodyKind::Request));
}

#[test]
fn written_bytes_of_request_and_response_share_one_limit() {
    let limits = limited(|limits| limits.written_bytes = 1000);
    let write = |kind, len| format!("(call $write_body {kind} 0 {len})");
    let probe = stops(&write(1, 1000)).limits(limits.clone()).load();
    for _ in 0..2 {
        // Each exchange has its own limit.
        assert_eq!(probe.respond(get()).response.take_body().0.len(), 1000);
    }
    for (first, second) in
        [((1, 1001), (1, 0)), ((1, 1000), (1, 1)), ((0, 600), (1, 401)), ((0, 1000), (0, 1))]
    {
        let calls = write(first.0, first.1) + &write(second.0, second.1);
        let error = proceeds(&calls).limits(limits.clone()).load().error(get());
        assert_limit(&error, "write_body", ErrorKind::Limit);
    }
    let probe =
        proceeds(&write(1, 600)).features(BUFFER_RESPONSE).on_response(&write(1, 401)).limits(limits).load();
    assert_limit(&probe.error(get()), "write_body", ErrorKind::Limit);
}

#[test]
fn the_number_of_fields_set_is_limited_trailers_included() {
    let limits = limited(|limits| limits.header_count = 1000);
    // Setting one field a thousand times costs as much: each change of a trailer is recorded.
    let times = |n: u32, kind: u32| {
        format!(
            "(global.set $n {n})
             (loop $next
               (call $add_header_value {kind} \"a\" \"b\")
               (global.set $n (i32.sub (global.get $n) 1))
               (br_if $next (global.get $n)))"
        )
    };
    let load =
        |calls: &str| stops(calls).item("(global $n (mut i32) (i32.const 0))").limits(limits.clone()).load();
    load(&times(1000, 1)).respond(get());
    for kinds in [(0, 0), (1, 1), (2, 2), (3, 3), (1, 3)] {
        let calls = times(999, kinds.0) + &times(2, kinds.1);
        assert_limit(&load(&calls).error(get()), "add_header_value", ErrorKind::Limit);
    }
}

#[test]
fn the_size_of_the_fields_set_is_limited() {
    let limits = limited(|limits| limits.header_bytes = 1000);
    let set =
        |name, len| format!("(memory.fill BUF 120 1000) (call $set_header_value 1 \"{name}\" BUF {len})");
    stops(&set("abc", 997)).limits(limits.clone()).load().respond(get());
    for calls in [set("abc", 998), set("a", 900) + &set("b", 99)] {
        let error = stops(&calls).limits(limits.clone()).load().error(get());
        assert_limit(&error, "set_header_value", ErrorKind::Limit);
    }
}

#[test]
fn removals_among_trailer_edits_are_limited() {
    // Each removal is recorded until the trailers arrive.
    let limits = limited(|limits| limits.header_count = 1000);
    let probe = stops(
        "(global.set $n 100000)
         (loop $next
           (call $remove_header 3 \"a\")
           (global.set $n (i32.sub (global.get $n) 1))
           (br_if $next (global.get $n)))",
    )
    .item("(global $n (mut i32) (i32.const 0))")
    .limits(limits)
    .load();
    assert_limit(&probe.error(get()), "remove_header", ErrorKind::Limit);
}

#[test]
fn the_length_of_a_uri_is_limited() {
    let limits = limited(|limits| limits.uri_bytes = 1000);
    let set = |len| format!("(memory.fill BUF 97 2000) (i32.store8 BUF 47) (call $set_uri BUF {len})");
    let probe = proceeds(&set(1000)).limits(limits.clone()).load();
    probe.run(get(), |next| assert_eq!(next.uri.len(), 1000));
    let error = proceeds(&set(1001)).limits(limits.clone()).load().error(get());
    assert_limit(&error, "set_uri", ErrorKind::Limit);
    // So is the length after encoding.
    let set = "(memory.fill BUF 32 2000) (i32.store8 BUF 47) (call $set_uri BUF 400)";
    assert_limit(&stops(set).limits(limits).load().error(get()), "set_uri", ErrorKind::Limit);
}

#[test]
fn growing_the_memory_past_its_limit_fails_inside_the_guest() {
    let probe = stops(
        "(call $note (memory.grow 2)) (call $note (memory.grow 1)) (call $note (memory.grow 60000))
         (call $note (memory.size))",
    )
    .limits(limited(|limits| limits.memory_bytes = 3 * 65_536))
    .load();
    assert_eq!(probe.noted(get()), [1, 0xffff_ffff, 0xffff_ffff, 3].map(number));
}

#[test]
fn growing_a_table_past_its_limit_fails_inside_the_guest() {
    let probe = stops(
        "(call $note (table.grow $table (ref.null func) 999)) (call $note (table.grow $table (ref.null func) 1))",
    )
    .item("(table $table 1 funcref)")
    .limits(limited(|limits| limits.table_elements = 1000))
    .load();
    assert_eq!(probe.noted(get()), [1, 0xffff_ffff].map(number));
}

#[test]
fn an_initial_memory_over_its_limit_is_a_load_error() {
    let limits = limited(|limits| limits.memory_bytes = 65_536);
    match guest().pages(2).limits(limits).try_load::<InMemoryHost>() {
        Err(LoadError::Start(error)) => {
            assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was loaded"),
    }
}

#[test]
fn a_guest_waiting_past_its_total_limit_is_stopped_and_its_instance_dropped() {
    let limits = limited(|limits| limits.total = Duration::from_millis(50));
    let probe = proceeds("(call $read_all 0 64)").pages(2).limits(limits).load();
    let mut host = get();
    // If this were dropped, the body would end.
    let _never_fed = host.request.feed_body();
    let error = probe.error(host);
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(error.to_string().contains("50ms, including waiting"), "{error}");
    let stats = probe.stats();
    assert_eq!((stats.live, stats.dropped_failed), (0, 1), "{stats:?}");
}

#[test]
fn an_instance_grown_past_the_retention_limit_does_not_return_to_the_pool() {
    const PAGE: usize = 64 * 1024;
    for (growth, kept) in [(2 * PAGE, 1), (2 * PAGE - 1, 0)] {
        let limits = limited(|limits| limits.retained_growth = growth);
        let probe = stops("(drop (memory.grow (i32.const 2)))").limits(limits).load();
        probe.respond(get());
        let stats = probe.stats();
        assert_eq!((stats.idle, stats.live, stats.dropped_outgrown), (kept, kept, 1 - kept), "{stats:?}");
    }
}

#[test]
fn all_memories_of_an_instance_share_one_limit() {
    const PAGE: usize = 64 * 1024;
    let wat = || {
        stops("(call $note (memory.grow $other 2)) (call $note (memory.grow 2)) (call $note (memory.grow $other 1))")
            .item("(memory $other 1)")
    };
    let probe = wat().limits(limited(|limits| limits.memory_bytes = 5 * PAGE)).load();
    probe.respond(get());
    assert_eq!(probe.notes(), [1, u32::MAX, 3].map(|pages| number(pages.into())));
    let error = wat().limits(limited(|limits| limits.memory_bytes = 2 * PAGE - 1)).try_load::<InMemoryHost>();
    assert!(matches!(error, Err(LoadError::Start(_))), "what it starts with counts");
}

#[test]
fn growing_any_memory_past_the_retention_limit_drops_the_instance() {
    const PAGE: usize = 64 * 1024;
    let probe = stops("(drop (memory.grow $other 2))")
        .item("(memory $other 1)")
        .limits(limited(|limits| limits.retained_growth = 2 * PAGE - 1))
        .load();
    probe.respond(get());
    assert_eq!((probe.stats().live, probe.stats().dropped_outgrown), (0, 1));
}

#[test]
fn all_tables_of_an_instance_share_one_limit() {
    let probe = stops(
        "(call $note (table.grow $a (ref.null func) 500)) (call $note (table.grow $b (ref.null func) 500))",
    )
    .item("(table $a 0 funcref) (table $b 1 funcref)")
    .limits(limited(|limits| limits.table_elements = 1000))
    .load();
    probe.respond(get());
    assert_eq!(probe.notes(), [0, u32::MAX].map(|elements| number(elements.into())));
}

#[test]
fn garbage_collected_objects_count_as_memory() {
    let probe = stops(
        "(loop $more
           (global.set $list (struct.new $node (array.new_default $bytes (i32.const 100000)) (global.get $list)))
           (br $more))",
    )
    .item(
        "(type $bytes (array (mut i8)))
         (type $node (struct (field (ref $bytes)) (field (ref null $node))))
         (global $list (mut (ref null $node)) (ref.null $node))",
    )
    .limits(limited(|limits| {
        limits.memory_bytes = 8 * 1024 * 1024;
        limits.deadline = Duration::from_secs(60);
    }))
    .load();
    let error = probe.error(get());
    assert_ne!(error.kind(), ErrorKind::Deadline, "{error}");
}

#[test]
fn a_configuration_past_its_limit_is_refused_at_load_with_both_sizes() {
    let load = |size| {
        let limits = limited(|limits| limits.config_bytes = 1000);
        guest().config(&pattern(size)).limits(limits).try_load::<InMemoryHost>()
    };
    assert!(load(1000).is_ok());
    let error = load(1001).unwrap_err();
    assert!(matches!(error, LoadError::ConfigTooLarge { size: 1001, limit: 1000, .. }));
    for part in ["probe", "1001", "1000", "config_bytes"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_configuration_of_a_million_bytes_passes_by_default() {
    let probe = stops("(call $note (call $get_config 0 0))").config(&pattern(1_000_000)).load();
    probe.respond(get());
    assert_eq!(probe.notes(), [number(1_000_000)]);
}

#[test]
fn the_guest_stack_has_the_depth_set_on_the_engine() {
    let depth = |bytes: Option<usize>| {
        let builder = http_wasm_host::Engine::builder();
        let engine = match bytes {
            Some(bytes) => builder.guest_stack_bytes(bytes),
            None => builder,
        };
        let engine = engine.build().unwrap();
        // Recurses a thousand times per byte of the path.
        let wat = stops("(call $recurse (i32.mul (call $get_uri 0 0) (i32.const 1000)))").item(
            "(func $recurse (param $n i32)
               (if (local.get $n) (then (call $recurse (i32.sub (local.get $n) (i32.const 1))))))",
        );
        let guest: http_wasm_host::Guest<InMemoryHost> =
            wat.builder(&engine).load(wat.text().as_bytes()).unwrap();
        (1..1000)
            .find(|thousands| {
                let host = InMemoryHost::new("GET", &"/".repeat(*thousands));
                let outcome = crate::support::block_on(guest.handle_request(host));
                outcome.is_err_and(|error| error.kind() == ErrorKind::Trap)
            })
            .expect("no stack is endless")
    };
    let (small, default) = (depth(Some(128 * 1024)), depth(None));
    assert!(small * 3 <= default && default <= small * 5, "{small} and {default} thousand calls");
}

#[test]
fn an_engine_without_a_guest_stack_is_refused() {
    let error = http_wasm_host::Engine::builder().guest_stack_bytes(0).build().unwrap_err();
    assert!(matches!(error, LoadError::Engine(_)), "{error}");
}
