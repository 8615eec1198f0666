//! `enable_features`: when it has an effect, for how long, and what it returns.

use http_wasm_host::{Features, InMemoryHost, Phase};

use crate::support::{assert_refused, get, guest, header, number, post, proceeds};

const SET: &str = "(call $set_header_value 1 \"x\" \"guest\")";

#[test]
fn enable_features_returns_all_supported_features_not_the_argument() {
    let calls: String = ["0", "1", "2", "4", "7", "8", "-1"]
        .map(|bits| format!("(call $note (call $enable_features {bits}))"))
        .concat();
    let probe = proceeds(&calls).on_start(&calls).on_response(&calls).load();
    assert_eq!(probe.noted(get()), [7; 21].map(number));
}

#[test]
fn a_feature_enabled_at_start_up_is_the_default_of_every_request() {
    for start in [crate::support::Wat::on_start, crate::support::Wat::on_initialize] {
        let probe = start(guest().on_response(SET), "(drop (call $enable_features 2))").load();
        for _ in 0..3 {
            assert_eq!(header(&probe.run(get(), |_| {}).response, "x").as_deref(), Some("guest"));
        }
        assert_eq!(probe.0.facts().features, Features::BUFFER_RESPONSE);
    }
}

#[test]
fn a_feature_enabled_in_handle_request_applies_to_that_request() {
    let probe = proceeds("(drop (call $enable_features 2))").on_response(SET).load();
    for _ in 0..2 {
        assert_eq!(header(&probe.run(get(), |_| {}).response, "x").as_deref(), Some("guest"));
    }
    assert_eq!(probe.0.facts().features, Features::NONE);
}

#[test]
fn a_feature_enabled_in_handle_request_does_not_leak_into_the_next_request() {
    let probe = proceeds("(if (i32.eq (call $get_uri BUF 0) 3) (then (drop (call $enable_features 2))))")
        .on_response(SET)
        .load();
    probe.run(InMemoryHost::new("GET", "/on"), |_| {});
    assert_eq!(probe.stats().created, 1);
    let error = probe.error(get());
    assert_refused(&error, "set_header_value", Some(Phase::Response), "buffer_response");
    assert_eq!(probe.stats().created, 1);
}

#[test]
fn features_enabled_in_handle_request_add_to_those_enabled_at_start() {
    let probe = proceeds("(drop (call $enable_features 2))")
        .features(1)
        .on_response(&format!("{SET} (drop (call $read_body 0 BUF 1))"))
        .load();
    probe.run(post(b"x"), |_| {});
}

#[test]
fn features_add_up_call_by_call() {
    let probe = proceeds(
        "(drop (call $enable_features 1)) (drop (call $enable_features 2)) (drop (call $enable_features 0))",
    )
    .on_response(&format!("{SET} (drop (call $read_body 0 BUF 1))"))
    .load();
    probe.run(post(b"x"), |_| {});
}

#[test]
fn enabling_a_feature_in_handle_response_has_no_effect() {
    let probe = guest().on_response(&format!("(drop (call $enable_features 7)) {SET}")).load();
    for _ in 0..2 {
        let error = probe.error(get());
        assert_refused(&error, "set_header_value", Some(Phase::Response), "buffer_response");
    }
}

#[test]
fn enabling_a_feature_in_handle_response_does_not_affect_the_next_request() {
    let probe = guest()
        .on_response(&format!(
            "(drop (call $enable_features 7)) (if (i32.eq (call $get_uri BUF 0) 4) (then {SET}))"
        ))
        .load();
    probe.run(get(), |_| {});
    let error = probe.error(InMemoryHost::new("GET", "/set"));
    assert_refused(&error, "set_header_value", Some(Phase::Response), "buffer_response");
}

#[test]
fn unknown_feature_bits_are_ignored() {
    let probe = proceeds("(drop (call $enable_features 0xfff0))").features(0x100).on_response(SET).load();
    assert_eq!(probe.0.facts().features, Features::NONE);
    assert_refused(&probe.error(get()), "set_header_value", Some(Phase::Response), "buffer_response");
}
