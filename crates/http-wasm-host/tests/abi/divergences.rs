//! Differences from the reference host: one test for each row of the table, in the same order.

use std::time::Duration;

use http_wasm_host::{ErrorKind, Limits};
use tracing_subscriber::EnvFilter;

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, assert_refused, block_on, feed, fields, fill, framing, get, guest,
    header, length, list, number, pattern, post, proceeds, stops, with_subscriber,
};

#[test]
fn buffer_request_keeps_the_whole_body_whatever_the_size_of_the_reads() {
    let probe = proceeds("(call $read_all 0 64)").features(BUFFER_REQUEST).pages(2).load();
    let body = pattern(5000);
    probe.run(post(&body), |next| assert!(next.request.take_body().0 == body));
}

#[test]
fn framing_follows_a_rewritten_body() {
    let rewrite = |kind| format!("(call $write_body {kind} \"longer than before\")");
    let probe = proceeds(&rewrite(0)).features(BUFFER_RESPONSE).on_response(&rewrite(1)).load();
    let host = probe.run(post(b"short"), |next| {
        assert_eq!(framing(&next.request), length(18));
        fill(&mut next.response, b"short");
    });
    assert_eq!(framing(&host.response), length(18));
}

#[test]
fn setting_the_host_request_header_takes_effect() {
    let probe = proceeds("(call $set_header_value 0 \"host\" \"other.example\")").load();
    let mut host = get();
    host.request.headers.add(b"host", b"example.com");
    probe.run(host, |next| assert_eq!(header(&next.request, "host").as_deref(), Some("other.example")));
}

#[test]
fn get_status_code_in_handle_response_without_buffer_response_returns_the_real_status() {
    let probe = guest().on_response("(call $note (call $get_status_code))").load();
    probe.run(get(), |next| next.status = 418);
    assert_eq!(probe.notes(), [number(418)]);
}

#[test]
fn the_stack_of_a_trap_is_not_in_the_error_message_but_available_to_the_log() {
    for probe in [stops("(call $boom)"), guest().on_response("(call $boom)")] {
        let error = probe.item("(func $boom unreachable)").load().error(get());
        assert!(!format!("{error} {error:?}").contains("boom"), "{error} {error:?}");
        assert!(error.backtrace().unwrap().contains("boom"));
    }
}

#[test]
fn a_trapped_instance_never_serves_again() {
    let probe = stops(
        "(i32.store 0 (i32.add (i32.load 0) 1))
         (call $note (i32.load 0))
         (if (i32.eq (call $get_uri BUF 0) 4) (then unreachable))",
    )
    .load();
    let error = probe.error(http_wasm_host::InMemoryHost::new("GET", "/bad"));
    assert_eq!(error.kind(), ErrorKind::Trap);
    probe.respond(get());
    assert_eq!(probe.notes(), [number(1)]);
    assert_eq!(probe.stats().dropped_failed, 1);
}

#[test]
fn an_endless_loop_is_stopped_at_the_deadline() {
    let limits = Limits { deadline: Duration::from_millis(50), ..Limits::default() };
    let error = stops("(loop $l (br $l))").limits(limits).load().error(get());
    assert_eq!(error.kind(), ErrorKind::Deadline);
}

#[test]
fn add_on_a_trailer_appends() {
    let probe = guest()
        .features(BUFFER_RESPONSE)
        .on_response("(call $add_header_value 3 \"t\" \"1\") (call $add_header_value 3 \"t\" \"2\")")
        .load();
    let mut host = probe.run(get(), |_| {});
    assert_eq!(host.response.take_body().1, fields(&[("t", "1"), ("t", "2")]));
}

#[test]
fn request_trailers_are_those_of_the_request() {
    let probe =
        proceeds("(call $read 0 10) (call $note_list (call $get_header_values 2 \"t\" BUF LIMIT))").load();
    let mut host = get();
    feed(&mut host.request, [].into_iter(), Some(fields(&[("t", "request")])));
    probe.run(host, |next| {
        feed(&mut next.response, [].into_iter(), Some(fields(&[("t", "response")])));
    });
    assert_eq!(probe.notes()[1], list(["request"]));
}

#[test]
fn a_guest_that_stops_with_req_ctx_set_returns_its_instance() {
    let probe = stops("(return (i64.const 0x700000000))").load();
    for _ in 0..5 {
        probe.respond(get());
    }
    let stats = probe.stats();
    assert_eq!((stats.live, stats.idle, stats.created), (1, 1, 1));
}

#[test]
fn a_failed_instantiation_fails_only_that_request() {
    // A start function can see one thing from outside: whether the subscriber has enabled debug messages.
    let probe = guest().on_start("(if (call $log_enabled -1) (then unreachable))").load();
    let busy = probe.next(get());
    let debug = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("debug"))
        .with_writer(std::io::sink)
        .finish();
    let failed = with_subscriber(debug, || probe.outcome(get()));
    let error = failed.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ErrorKind::Trap, None));
    assert_eq!((probe.stats().live, probe.stats().created), (1, 2));
    // The request that was in flight, and a later one.
    let another = probe.next(get());
    block_on(busy.handle_response()).unwrap();
    block_on(another.handle_response()).unwrap();
    assert_eq!((probe.stats().live, probe.stats().idle), (2, 2));
}

#[test]
fn a_failed_memory_write_traps() {
    let error = stops("(drop (call $get_uri 65536 10))").load().error(get());
    assert_refused(&error, "get_uri", Some(http_wasm_host::Phase::Request), "out of bounds");
}

#[test]
fn buffer_response_holds_only_what_the_guest_reads() {
    let probe = guest()
        .features(BUFFER_RESPONSE)
        .on_response("(call $set_header_value 1 \"x\" \"y\") (drop (call $read_body 1 BUF 2))")
        .load();
    let mut pinned = probe.next(get());
    let body = pinned.host_mut().response.feed_body();
    body.push("abc");
    // It returns before the body has arrived.
    let mut host = block_on(pinned.handle_response()).unwrap().host;
    assert_eq!(header(&host.response, "x").as_deref(), Some("y"));
    assert_eq!(host.response.take_body().0, b"abc");
    body.push("def");
    assert_eq!(host.response.take_body().0, b"def");
}

#[test]
fn buffer_response_passes_upgrades() {
    let probe =
        guest().features(BUFFER_RESPONSE).on_response("(call $set_header_value 1 \"x\" \"y\")").load();
    let host = probe.run(get(), |next| {
        next.status = 101;
        next.response.headers.add(b"upgrade", b"websocket");
    });
    assert_eq!((host.status, header(&host.response, "upgrade").as_deref()), (101, Some("websocket")));
}

#[test]
fn content_that_is_held_for_a_guest_is_limited() {
    let limits = Limits { replay_bytes: 1000, ..Limits::default() };
    let probe = guest()
        .features(BUFFER_RESPONSE)
        .on_response("(call $read_all 1 100)")
        .pages(2)
        .limits(limits)
        .load();
    let error = probe.try_run(get(), |next| fill(&mut next.response, &pattern(1001))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BodyTooLarge(http_wasm_host::BodyKind::Response));
}

#[test]
fn the_instance_is_returned_when_handle_response_returns() {
    let probe = guest().features(BUFFER_RESPONSE).load();
    let mut pinned = probe.next(get());
    let _body = pinned.host_mut().response.feed_body();
    assert_eq!(probe.stats().idle, 0);
    let host = block_on(pinned.handle_response()).unwrap().host;
    assert_eq!(probe.stats().idle, 1);
    drop(host);
}

#[test]
fn header_names_are_in_the_order_received() {
    let probe = stops("(call $note_list (call $get_header_names 0 BUF LIMIT))").load();
    let mut host = get();
    for name in ["z", "m", "a", "q"] {
        host.request.headers.add(name.as_bytes(), b"");
    }
    assert_eq!(probe.noted(host), [list(["z", "m", "a", "q"])]);
}

#[test]
fn enable_features_returns_what_is_supported() {
    let probe = stops("(call $note (call $enable_features 1))").load();
    assert_eq!(probe.noted(get()), [number(7)]);
}

#[test]
fn both_initialize_and_start_are_run() {
    let probe = guest().on_initialize("(call $note 1)").on_command("(call $note 2)").load();
    assert_eq!(probe.noted(get()), [1, 2].map(number));
}

#[test]
fn the_next_handlers_status_wins_over_one_set_before_next_without_buffering() {
    let probe = proceeds("(call $set_status_code 404)").load();
    assert_eq!(probe.run(get(), |next| next.status = 201).status, 201);
}

#[test]
fn invalid_header_names_and_values_trap() {
    for (name, value) in [("a b", "c"), ("a\\0d\\0ab", "c"), ("a", "b\\0d\\0ac"), ("a", "\\00")] {
        let probe = stops(&format!("(call $set_header_value 1 \"{name}\" \"{value}\")")).load();
        assert!(matches!(probe.outcome(get()), Err(error) if error.kind() == ErrorKind::HostCall));
    }
}

#[test]
fn looking_up_or_removing_an_empty_header_name_finds_nothing() {
    let probe = stops(
        "(call $remove_header 0 \"\") (call $note64 (call $get_header_values 0 \"\" BUF LIMIT))
         (call $remove_header 1 \"\") (call $note64 (call $get_header_values 1 \"\" BUF LIMIT))",
    );
    assert_eq!(probe.load().noted(get()), [0, 0].map(number));
}

#[test]
fn a_response_body_written_by_a_guest_gets_no_content_type() {
    let write = "(call $write_body 1 \"<html><p>a text</p></html>\")";
    let after = guest().features(BUFFER_RESPONSE).on_response(write);
    for guest in [stops(write), proceeds(write), after] {
        let host = guest.load().run(get(), |_| {});
        assert_eq!(header(&host.response, "content-type"), None);
    }
}

#[test]
fn status_and_headers_can_be_set_until_the_phase_returns_even_after_body_writes() {
    let calls = "(call $write_body 1 \"a body\") (call $set_status_code 418)
                 (call $set_header_value 1 \"x\" \"1\") (call $set_status_code 419)
                 (call $write_body 1 \"!\") (call $add_header_value 1 \"x\" \"2\")";
    for guest in [stops(calls), guest().features(BUFFER_RESPONSE).on_response(calls)] {
        let mut host = guest.load().run(get(), |_| {});
        assert_eq!((host.status, header(&host.response, "x").as_deref()), (419, Some("1|2")));
        assert_eq!(host.response.take_body().0, b"a body!");
    }
}
