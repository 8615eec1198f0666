//! The status of a response.

use http_wasm_host::{ErrorKind, Limits, Phase};

use crate::support::{assert_refused, eof, get, guest, number, proceeds, stops};

#[test]
fn the_status_is_200_when_the_guest_sets_none() {
    let probe = stops("(call $note (call $get_status_code))").load();
    assert_eq!(probe.respond(get()).status, 200);
    assert_eq!(probe.notes(), [number(200)]);
}

#[test]
fn the_last_final_status_wins() {
    let probe =
        stops("(call $set_status_code 404) (call $set_status_code 503) (call $note (call $get_status_code))")
            .load();
    assert_eq!(probe.respond(get()).status, 503);
    assert_eq!(probe.notes(), [number(503)]);
}

#[test]
fn every_final_status_from_200_to_999_can_be_set() {
    for status in [200, 204, 304, 418, 599, 600, 999] {
        let probe = stops(&format!("(call $set_status_code {status})")).load();
        assert_eq!(probe.respond(get()).status, status);
        let probe = guest().features(2).on_response(&format!("(call $set_status_code {status})")).load();
        assert_eq!(probe.run(get(), |next| next.status = 201).status, status);
    }
}

#[test]
fn a_status_outside_100_to_999_traps() {
    for status in ["0", "1", "99", "1000", "65736", "-1"] {
        let error = stops(&format!("(call $set_status_code {status})")).load().error(get());
        assert_refused(&error, "set_status_code", Some(Phase::Request), "outside 100..=999");
        let probe = guest().features(2).on_response(&format!("(call $set_status_code {status})")).load();
        assert_refused(&probe.error(get()), "set_status_code", Some(Phase::Response), "outside 100..=999");
    }
}

#[test]
fn informational_statuses_are_sent_at_once_and_do_not_change_the_final_one() {
    let probe = stops(
        "(call $set_status_code 103) (call $note (call $get_status_code)) (call $set_status_code 404)
         (call $set_status_code 100) (call $set_status_code 199) (call $note (call $get_status_code))",
    )
    .load();
    let host = probe.respond(get());
    assert_eq!(host.informational, [103, 100, 199]);
    assert_eq!(host.status, 404);
    assert_eq!(probe.notes(), [number(200), number(404)]);
}

#[test]
fn with_only_an_informational_status_the_final_one_is_200() {
    let probe = stops("(call $set_status_code 103)").load();
    assert_eq!(probe.respond(get()).status, 200);
}

#[test]
fn informational_statuses_are_sent_in_either_phase() {
    let probe = proceeds("(call $set_status_code 103)")
        .features(2)
        .on_response("(call $set_status_code 102) (call $note (call $get_status_code))")
        .load();
    let host = probe.run(get(), |next| {
        assert_eq!(next.informational, [103]);
        next.status = 201;
    });
    assert_eq!((host.status, &host.informational[..]), (201, &[103, 102][..]));
    assert_eq!(probe.notes(), [number(201)]);
}

#[test]
fn a_guests_own_101_traps() {
    let error = stops("(call $set_status_code 101)").load().error(get());
    assert_refused(&error, "set_status_code", Some(Phase::Request), "101");
    let probe = guest().features(2).on_response("(call $set_status_code 101)").load();
    assert_refused(&probe.error(get()), "set_status_code", Some(Phase::Response), "101");
}

#[test]
fn the_real_status_is_read_in_handle_response_buffered_or_not() {
    for features in [0, 2] {
        let probe = guest().features(features).on_response("(call $note (call $get_status_code))").load();
        for status in [200, 404, 502] {
            probe.run(get(), |next| next.status = status);
            assert_eq!(probe.notes(), [number(status.into())]);
        }
    }
}

#[test]
fn the_next_handlers_status_wins_over_one_set_before_next() {
    for features in [0, 2] {
        let probe = proceeds("(call $set_status_code 404)")
            .features(features)
            .on_response("(call $note (call $get_status_code))")
            .load();
        assert_eq!(probe.run(get(), |next| next.status = 201).status, 201);
        assert_eq!(probe.notes(), [number(201)]);
        // Its default of 200 wins as well.
        assert_eq!(probe.run(get(), |_| {}).status, 200);
    }
}

#[test]
fn the_client_gets_the_status_set_in_handle_response() {
    let probe = guest()
        .features(2)
        .on_response("(call $set_status_code 418) (call $note (call $get_status_code))")
        .load();
    assert_eq!(probe.run(get(), |next| next.status = 201).status, 418);
    assert_eq!(probe.notes(), [number(418)]);
}

#[test]
fn the_body_of_the_next_handlers_101_is_at_eof() {
    let probe = guest()
        .features(2)
        .on_response("(call $note (call $get_status_code)) (call $read 1 10) (call $read 1 10)")
        .load();
    let mut feed = None;
    let host = probe.run(get(), |next| {
        next.status = 101;
        // Data of the upgraded connection comes later, if at all.
        feed = Some(next.response.feed_body());
    });
    assert_eq!(host.status, 101);
    assert_eq!(probe.notes(), [number(101), eof(""), eof("")]);
}

#[test]
fn trailers_of_the_next_handlers_101_are_not_waited_for() {
    let probe = guest().features(2).on_response("(call $note64 (call $get_header_names 3 BUF LIMIT))").load();
    let mut feed = None;
    probe.run(get(), |next| {
        next.status = 101;
        feed = Some(next.response.feed_body());
    });
    assert_eq!(probe.notes(), [number(0)]);
}

#[test]
fn changing_status_or_body_of_the_next_handlers_101_traps() {
    for (function, call) in [
        ("set_status_code", "(call $set_status_code 200)"),
        ("set_status_code", "(call $set_status_code 103)"),
        ("write_body", "(call $write_body 1 \"x\")"),
        ("write_body", "(call $write_body 1 0 0)"),
    ] {
        let probe = guest().features(2).on_response(call).load();
        let error = probe.try_run(get(), |next| next.status = 101).unwrap_err();
        assert_refused(&error, function, Some(Phase::Response), "101");
    }
}

#[test]
fn headers_of_the_next_handlers_101_can_be_changed() {
    let probe = guest()
        .features(2)
        .on_response("(call $set_header_value 1 \"x-guest\" \"seen\") (call $remove_header 1 \"server\")")
        .load();
    let host = probe.run(get(), |next| {
        next.status = 101;
        for (name, value) in [("upgrade", "websocket"), ("connection", "upgrade"), ("server", "x")] {
            next.response.headers.add(name.as_bytes(), value.as_bytes());
        }
    });
    let all: Vec<_> = host.response.headers.names().collect();
    assert_eq!(all, [&b"upgrade"[..], b"connection", b"x-guest"]);
}

#[test]
fn a_content_length_on_the_next_handlers_101_is_ignored_even_zero() {
    // The special meaning of `content-length: 0` only applies to messages whose body the guest may write.
    let probe = guest()
        .features(2)
        .on_response(
            "(call $set_header_value 1 \"content-length\" \"5\")
             (call $set_header_value 1 \"content-length\" \"0\")",
        )
        .load();
    let host = probe.run(get(), |next| next.status = 101);
    assert_eq!(host.status, 101);
    assert!(host.response.headers.is_empty(), "{:?}", host.response.headers);
}

#[test]
fn informational_statuses_count_against_the_limit_of_fields() {
    let limits = Limits { header_count: 5, ..Limits::default() };
    let sets =
        |count: usize| stops(&"(call $set_status_code 103)".repeat(count)).limits(limits.clone()).load();
    assert_eq!(sets(5).respond(get()).informational.len(), 5);
    let error = sets(6).error(get());
    assert_eq!((error.kind(), error.function()), (ErrorKind::Limit, Some("set_status_code")));
}
