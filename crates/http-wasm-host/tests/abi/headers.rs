//! Reading and changing headers.

use http_wasm_host::{InMemoryHost, Phase};

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, ByHand, assert_refused, get, guest, header, list, nothing, number,
    proceeds, stops,
};

fn with_headers(headers: &[(&str, &str)]) -> InMemoryHost {
    let mut host = get();
    for (name, value) in headers {
        host.request.headers.add(name.as_bytes(), value.as_bytes());
    }
    host
}

#[test]
fn header_names_are_lower_case_unique_and_in_the_order_received() {
    let probe = stops("(call $note_list (call $get_header_names 0 BUF LIMIT))").load();
    let host = with_headers(&[("Zeta", "1"), ("alpha", "2"), ("ZETA", "3"), ("X-Mixed-Case", "")]);
    assert_eq!(probe.noted(host), [list(["zeta", "alpha", "x-mixed-case"])]);
}

#[test]
fn without_headers_the_list_of_names_is_empty() {
    let probe = stops("(call $note64 (call $get_header_names 0 BUF LIMIT))").load();
    assert_eq!(probe.noted(get()), [number(0)]);
}

#[test]
fn values_are_in_order_and_nul_terminated() {
    let probe = stops(
        "(call $note64 (call $get_header_values 0 \"accept\" BUF LIMIT))
         (call $note_list (call $get_header_values 0 \"accept\" BUF LIMIT))",
    )
    .load();
    let host = with_headers(&[("accept", "b"), ("other", "x"), ("accept", ""), ("Accept", "a, c")]);
    assert_eq!(probe.noted(host), [number(3 << 32 | 8), list(["b", "", "a, c"])]);
}

#[test]
fn an_empty_value_has_count_one_and_length_one() {
    let probe = stops("(call $note64 (call $get_header_values 0 \"empty\" BUF LIMIT))").load();
    assert_eq!(probe.noted(with_headers(&[("empty", "")])), [number(1 << 32 | 1)]);
}

#[test]
fn an_absent_header_returns_zero() {
    let probe = stops(
        "(call $note64 (call $get_header_values 0 \"none\" BUF LIMIT))
         (call $note64 (call $get_header_values 0 \"non\" BUF LIMIT))
         (call $note64 (call $get_header_values 0 \"nones\" BUF LIMIT))",
    )
    .load();
    let host = with_headers(&[("none-at-all", "1")]);
    assert_eq!(probe.noted(host), [0; 3].map(number));
}

#[test]
fn header_names_match_in_any_case() {
    let probe = stops(
        "(call $note_list (call $get_header_values 0 \"X-UPPER\" BUF LIMIT))
         (call $note_list (call $get_header_values 0 \"x-upper\" BUF LIMIT))
         (call $set_header_value 0 \"X-upper\" \"2\")
         (call $add_header_value 0 \"x-UPPER\" \"3\")
         (call $note_list (call $get_header_values 0 \"X-Upper\" BUF LIMIT))
         (call $note_list (call $get_header_names 0 BUF LIMIT))
         (call $remove_header 0 \"x-uPPer\")
         (call $note_list (call $get_header_values 0 \"x-upper\" BUF LIMIT))",
    )
    .load();
    let one = list(["1"]);
    let expected = [one.clone(), one, list(["2", "3"]), list(["x-upper"]), nothing()];
    assert_eq!(probe.noted(with_headers(&[("X-Upper", "1")])), expected);
}

#[test]
fn values_are_bytes_of_eight_bits() {
    let all: Vec<u8> = (1..=255).filter(|byte| *byte == b'\t' || !u8::is_ascii_control(byte)).collect();
    let probe = proceeds(
        "(local $len i32)
         (local.set $len (i32.wrap_i64 (call $get_header_values 0 \"in\" BUF LIMIT)))
         (call $set_header_value 0 \"out\" BUF (i32.sub (local.get $len) 1))
         (call $note_list (call $get_header_values 0 \"out\" BUF LIMIT))",
    )
    .load();
    let mut host = get();
    host.request.headers.add(b"in", &all);
    let host = probe.run(host, |_| {});
    assert_eq!(host.request.headers.values(b"out").collect::<Vec<_>>(), [&all[..]]);
    assert_eq!(probe.notes(), [list([all])]);
}

#[test]
fn names_may_be_of_any_length() {
    for len in [63, 64, 65, 200] {
        let name = "n".repeat(len);
        let probe = stops(&format!(
            "(call $set_header_value 0 \"{name}\" \"v\")
             (call $note_list (call $get_header_values 0 \"{name}\" BUF LIMIT))"
        ))
        .load();
        assert_eq!(probe.noted(get()), [list(["v"])], "{len}");
    }
}

#[test]
fn set_replaces_all_values_add_appends_and_remove_removes_all() {
    let probe = proceeds(
        "(call $set_header_value 0 \"set\" \"new\")
         (call $set_header_value 0 \"fresh\" \"new\")
         (call $add_header_value 0 \"add\" \"new\")
         (call $add_header_value 0 \"added\" \"new\")
         (call $remove_header 0 \"gone\")
         (call $remove_header 0 \"never-there\")
         (call $set_header_value 0 \"empty\" \"\")",
    )
    .load();
    let host = with_headers(&[("set", "1"), ("add", "1"), ("gone", "1"), ("set", "2"), ("gone", "2")]);
    let host = probe.run(host, |_| {});
    let request = |name| header(&host.request, name);
    assert_eq!(request("set").as_deref(), Some("new"));
    assert_eq!(request("fresh").as_deref(), Some("new"));
    assert_eq!(request("add").as_deref(), Some("1|new"));
    assert_eq!(request("added").as_deref(), Some("new"));
    assert_eq!(request("gone"), None);
    assert_eq!(request("empty").as_deref(), Some(""));
}

#[test]
fn response_headers_in_handle_request_are_those_that_the_guest_has_set_so_far() {
    let probe = stops(
        "(call $note_list (call $get_header_names 1 BUF LIMIT))
         (call $set_header_value 1 \"X-B\" \"1\")
         (call $add_header_value 1 \"x-a\" \"2\")
         (call $add_header_value 1 \"x-b\" \"3\")
         (call $note_list (call $get_header_names 1 BUF LIMIT))
         (call $note_list (call $get_header_values 1 \"x-B\" BUF LIMIT))
         (call $remove_header 1 \"X-B\")
         (call $note_list (call $get_header_names 1 BUF LIMIT))",
    )
    .load();
    let expected = [nothing(), list(["x-b", "x-a"]), list(["1", "3"]), list(["x-a"])];
    let host = probe.respond(get());
    assert_eq!(probe.notes(), expected);
    assert_eq!(header(&host.response, "x-a").as_deref(), Some("2"));
    assert_eq!(header(&host.response, "x-b"), None);
}

#[test]
fn response_headers_in_handle_response_are_those_of_the_next_handler_buffered_or_not() {
    for features in [0, 2] {
        let probe = guest()
            .features(features)
            .on_response(
                "(call $note_list (call $get_header_names 1 BUF LIMIT))
                 (call $note_list (call $get_header_values 1 \"Server\" BUF LIMIT))",
            )
            .load();
        probe.run(get(), |next| {
            next.response.headers.add(b"Server", b"origin");
            next.response.headers.add(b"date", b"today");
        });
        assert_eq!(probe.notes(), [list(["server", "date"]), list(["origin"])]);
    }
}

#[test]
fn response_headers_change_in_handle_response_with_buffer_response() {
    let probe = guest()
        .features(2)
        .on_response(
            "(call $set_header_value 1 \"server\" \"guest\")
             (call $add_header_value 1 \"vary\" \"b\")
             (call $remove_header 1 \"x-powered-by\")",
        )
        .load();
    let host = probe.run(get(), |next| {
        for (name, value) in [("server", "origin"), ("vary", "a"), ("x-powered-by", "x"), ("etag", "1")] {
            next.response.headers.add(name.as_bytes(), value.as_bytes());
        }
    });
    let all: Vec<_> = host.response.headers.iter().map(|(name, value)| [name, value].concat()).collect();
    assert_eq!(all, [&b"serverguest"[..], b"varya", b"etag1", b"varyb"]);
}

#[test]
fn handle_response_reads_the_request_as_it_was_forwarded() {
    let probe = proceeds(
        "(call $set_header_value 0 \"x\" \"changed\") (call $set_method \"PUT\") (call $set_uri \"/changed\")",
    )
    .on_response(
        "(call $note_list (call $get_header_values 0 \"x\" BUF LIMIT))
         (call $note_text (call $get_method BUF LIMIT))
         (call $note_text (call $get_uri BUF LIMIT))",
    )
    .load();
    let notes = probe.noted(with_headers(&[("x", "original")]));
    assert_eq!(notes, [list(["changed"]), crate::support::text("PUT"), crate::support::text("/changed")]);
}

const INVALID_NAMES: [&str; 11] =
    ["a b", " a", "a:", "a\\0d", "a\\0a", "a\\00", "\\ff", "caf\\c3\\a9", "(a)", "a,b", "\\7f"];

#[test]
fn an_invalid_header_name_traps_when_it_is_set_or_added() {
    for name in INVALID_NAMES {
        for (function, call) in [
            ("set_header_value", "(call $set_header_value 0 {} \"v\")"),
            ("add_header_value", "(call $add_header_value 1 {} \"v\")"),
        ] {
            let error = stops(&call.replace("{}", &format!("\"{name}\""))).load().error(get());
            assert_refused(&error, function, Some(Phase::Request), "name is not a valid header name");
        }
    }
}

#[test]
fn an_empty_header_name_traps_when_it_is_set_or_added() {
    for kind in 0..4 {
        for function in ["set_header_value", "add_header_value"] {
            let error = stops(&format!("(call ${function} {kind} \"\" \"v\")")).load().error(get());
            assert_refused(&error, function, Some(Phase::Request), "name is empty");
        }
    }
}

#[test]
fn looking_up_or_removing_an_invalid_name_finds_nothing_in_any_kind_and_phase() {
    let calls = |kinds: &[u32]| {
        let mut calls = String::new();
        for name in INVALID_NAMES.iter().chain([&""]) {
            for kind in kinds {
                calls += &format!(
                    "(call $remove_header {kind} \"{name}\")
                     (call $note64 (call $get_header_values {kind} \"{name}\" BUF LIMIT))"
                );
            }
        }
        calls
    };
    let names = INVALID_NAMES.len() + 1;
    for features in [BUFFER_RESPONSE, BUFFER_REQUEST | BUFFER_RESPONSE] {
        let probe = proceeds(&calls(&[0, 1, 2, 3])).features(features).on_response(&calls(&[1, 3])).load();
        let host = probe.run(with_headers(&[("a", "1"), ("b", "2")]), |next| {
            next.response.headers.add(b"a", b"1");
        });
        assert_eq!(probe.notes(), vec![number(0); names * 6]);
        assert_eq!(header(&host.request, "a").as_deref(), Some("1"));
        assert_eq!(header(&host.response, "a").as_deref(), Some("1"));
    }
}

#[test]
fn looking_up_an_invalid_name_among_trailers_does_not_wait_for_them() {
    let probe = proceeds("(call $note64 (call $get_header_values 2 \"a b\" BUF LIMIT))")
        .features(BUFFER_REQUEST)
        .load();
    let mut host = get();
    let _unfinished = host.request.feed_body();
    ByHand::new(probe.0.handle_request(host)).ends().unwrap();
}

#[test]
fn removing_an_invalid_name_traps_where_removing_a_valid_one_would() {
    for (features, kind) in [(0, 0), (0, 1), (BUFFER_RESPONSE, 0), (0, 3)] {
        let call = format!("(call $remove_header {kind} \"a b\")");
        let error = guest().features(features).on_response(&call).load().error(get());
        assert_refused(&error, "remove_header", Some(Phase::Response), "can");
    }
}

#[test]
fn looking_up_an_invalid_name_at_start_up_traps() {
    let name = "n".repeat(3000);
    for name in ["a b", "", &name] {
        let call = format!("(drop (call $get_header_values 0 \"{name}\" BUF LIMIT))");
        let error = guest().on_initialize(&call).try_load::<InMemoryHost>().unwrap_err().to_string();
        assert!(error.contains("get_header_values") && error.contains("no request yet"), "{error}");
    }
}

#[test]
fn an_invalid_header_value_traps() {
    for value in ["a\\0db", "a\\0ab", "\\0d\\0aset-cookie: a", "\\00", "a\\00", "\\7f", "\\1b[0m", "\\01"] {
        for (function, kind) in [("set_header_value", 0), ("add_header_value", 1), ("set_header_value", 3)] {
            let error = stops(&format!("(call ${function} {kind} \"a\" \"{value}\")")).load().error(get());
            assert_refused(&error, function, Some(Phase::Request), "value is not a valid header value");
        }
    }
}

#[test]
fn an_invalid_value_traps_even_under_a_name_that_is_ignored() {
    for name in ["connection", "content-length", "transfer-encoding"] {
        let error = stops(&format!("(call $set_header_value 1 \"{name}\" \"a\\0ab\")")).load().error(get());
        assert_refused(&error, "set_header_value", Some(Phase::Request), "value");
    }
}

#[test]
fn an_unknown_header_kind_traps() {
    for kind in ["4", "7", "-1", "0x7fffffff"] {
        for (function, call) in [
            ("get_header_names", "(drop (call $get_header_names {} BUF LIMIT))"),
            ("get_header_values", "(drop (call $get_header_values {} \"a\" BUF LIMIT))"),
            ("set_header_value", "(call $set_header_value {} \"a\" \"b\")"),
            ("add_header_value", "(call $add_header_value {} \"a\" \"b\")"),
            ("remove_header", "(call $remove_header {} \"a\")"),
        ] {
            let error = stops(&call.replace("{}", kind)).load().error(get());
            assert_refused(&error, function, Some(Phase::Request), "unknown header kind");
        }
    }
}

#[test]
fn an_unknown_body_kind_traps() {
    for kind in ["2", "3", "-1"] {
        for (function, call) in [
            ("read_body", "(drop (call $read_body {} BUF LIMIT))"),
            ("write_body", "(call $write_body {} \"a\")"),
        ] {
            let error = stops(&call.replace("{}", kind)).load().error(get());
            assert_refused(&error, function, Some(Phase::Request), "unknown body kind");
        }
    }
}
