//! Which function may be called when: the table "Phases" of the ABI, and calls while an instance is created.

use http_wasm_host::{FUNCTIONS, InMemoryHost, Lint, LoadError, Phase};

use crate::support::{Wat, assert_refused, guest, post, proceeds};

/// Whether it is allowed in `handle_response` without features, with only `buffer_request`, and with only
/// `buffer_response`.
type After = [bool; 3];

const ALWAYS: After = [true; 3];
const NEVER: After = [false; 3];
const WITH_BUFFER_REQUEST: After = [false, true, false];
const WITH_BUFFER_RESPONSE: After = [false, false, true];

fn check(function: &str, call: &str, after: After) {
    // In `handle_request`, everything is allowed.
    proceeds(call).load().run(request(), |_| {});
    for (features, allowed) in after.into_iter().enumerate() {
        let probe = guest().features(features as u32).on_response(call).load();
        match (probe.try_run(request(), |_| {}), allowed) {
            (Ok(_), true) => {}
            (Ok(_), false) => panic!("{call} is allowed in handle_response with features {features}"),
            (Err(error), true) => panic!("{call} with features {features}: {error}"),
            (Err(error), false) => {
                assert_refused(&error, function, Some(Phase::Response), "handle_response");
                // A clean instance replaces it.
                assert_eq!((probe.stats().live, probe.stats().dropped_failed), (0, 1));
            }
        }
    }
}

fn request() -> InMemoryHost {
    post(b"body")
}

/// `test name: function, call, when it is allowed in handle_response;`
macro_rules! phases {
    ($($test:ident: $function:ident $call:literal $after:expr;)*) => {
        $(
        #[test]
        fn $test() {
            check(stringify!($function), $call, $after);
        }
    )*

        /// Function, call, when it is allowed in `handle_response`.
        const PHASES: &[(&str, &str, After)] = &[$((stringify!($function), $call, $after)),*];
    };
}

phases! {
    enable_features_works_in_both_phases: enable_features "(drop (call $enable_features 7))" ALWAYS;
    get_config_works_in_both_phases: get_config "(drop (call $get_config BUF LIMIT))" ALWAYS;
    log_works_in_both_phases: log "(call $log 0 \"hello\")" ALWAYS;
    log_enabled_works_in_both_phases: log_enabled "(drop (call $log_enabled 0))" ALWAYS;
    the_method_can_always_be_read: get_method "(drop (call $get_method BUF LIMIT))" ALWAYS;
    the_method_can_be_set_before_next_only: set_method "(call $set_method \"PUT\")" NEVER;
    the_uri_can_always_be_read: get_uri "(drop (call $get_uri BUF LIMIT))" ALWAYS;
    the_uri_can_be_set_before_next_only: set_uri "(call $set_uri \"/a\")" NEVER;
    the_protocol_version_can_always_be_read: get_protocol_version
        "(drop (call $get_protocol_version BUF LIMIT))" ALWAYS;
    the_source_address_can_always_be_read: get_source_addr "(drop (call $get_source_addr BUF LIMIT))" ALWAYS;

    names_of_request_headers_can_always_be_read: get_header_names
        "(drop (call $get_header_names 0 BUF LIMIT))" ALWAYS;
    names_of_response_headers_can_always_be_read: get_header_names
        "(drop (call $get_header_names 1 BUF LIMIT))" ALWAYS;
    names_of_request_trailers_can_always_be_read: get_header_names
        "(drop (call $get_header_names 2 BUF LIMIT))" ALWAYS;
    names_of_response_trailers_can_always_be_read: get_header_names
        "(drop (call $get_header_names 3 BUF LIMIT))" ALWAYS;

    request_headers_can_always_be_read: get_header_values
        "(drop (call $get_header_values 0 \"a\" BUF LIMIT))" ALWAYS;
    response_headers_can_always_be_read: get_header_values
        "(drop (call $get_header_values 1 \"a\" BUF LIMIT))" ALWAYS;
    request_trailers_can_always_be_read: get_header_values
        "(drop (call $get_header_values 2 \"a\" BUF LIMIT))" ALWAYS;
    response_trailers_can_always_be_read: get_header_values
        "(drop (call $get_header_values 3 \"a\" BUF LIMIT))" ALWAYS;

    request_headers_can_be_set_before_next_only: set_header_value
        "(call $set_header_value 0 \"a\" \"b\")" NEVER;
    response_headers_can_be_set_after_next_with_buffer_response: set_header_value
        "(call $set_header_value 1 \"a\" \"b\")" WITH_BUFFER_RESPONSE;
    request_trailers_can_be_set_before_next_only: set_header_value
        "(call $set_header_value 2 \"a\" \"b\")" NEVER;
    response_trailers_can_be_set_after_next_with_buffer_response: set_header_value
        "(call $set_header_value 3 \"a\" \"b\")" WITH_BUFFER_RESPONSE;

    request_headers_can_be_added_before_next_only: add_header_value
        "(call $add_header_value 0 \"a\" \"b\")" NEVER;
    response_headers_can_be_added_after_next_with_buffer_response: add_header_value
        "(call $add_header_value 1 \"a\" \"b\")" WITH_BUFFER_RESPONSE;
    request_trailers_can_be_added_before_next_only: add_header_value
        "(call $add_header_value 2 \"a\" \"b\")" NEVER;
    response_trailers_can_be_added_after_next_with_buffer_response: add_header_value
        "(call $add_header_value 3 \"a\" \"b\")" WITH_BUFFER_RESPONSE;

    request_headers_can_be_removed_before_next_only: remove_header "(call $remove_header 0 \"a\")" NEVER;
    response_headers_can_be_removed_after_next_with_buffer_response: remove_header
        "(call $remove_header 1 \"a\")" WITH_BUFFER_RESPONSE;
    request_trailers_can_be_removed_before_next_only: remove_header "(call $remove_header 2 \"a\")" NEVER;
    response_trailers_can_be_removed_after_next_with_buffer_response: remove_header
        "(call $remove_header 3 \"a\")" WITH_BUFFER_RESPONSE;

    headers_that_the_host_ignores_are_still_refused_in_the_wrong_phase: set_header_value
        "(call $set_header_value 1 \"content-length\" \"5\")" WITH_BUFFER_RESPONSE;
    headers_of_the_connection_are_still_refused_in_the_wrong_phase: set_header_value
        "(call $set_header_value 0 \"connection\" \"close\")" NEVER;
    an_emptying_content_length_is_still_refused_in_the_wrong_phase: set_header_value
        "(call $set_header_value 1 \"content-length\" \"0\")" WITH_BUFFER_RESPONSE;

    the_request_body_can_be_read_after_next_with_buffer_request: read_body
        "(drop (call $read_body 0 BUF 1))" WITH_BUFFER_REQUEST;
    the_response_body_can_be_read_after_next_with_buffer_response: read_body
        "(drop (call $read_body 1 BUF 1))" WITH_BUFFER_RESPONSE;
    the_request_body_can_be_written_before_next_only: write_body "(call $write_body 0 \"new\")" NEVER;
    the_response_body_can_be_written_after_next_with_buffer_response: write_body
        "(call $write_body 1 \"new\")" WITH_BUFFER_RESPONSE;
    writing_nothing_is_still_refused_in_the_wrong_phase: write_body "(call $write_body 1 0 0)" WITH_BUFFER_RESPONSE;

    the_status_can_always_be_read: get_status_code "(drop (call $get_status_code))" ALWAYS;
    the_status_can_be_set_after_next_with_buffer_response: set_status_code
        "(call $set_status_code 404)" WITH_BUFFER_RESPONSE;
    an_informational_status_can_be_set_after_next_with_buffer_response: set_status_code
        "(call $set_status_code 103)" WITH_BUFFER_RESPONSE;
}

#[test]
fn calls_that_require_buffer_response_get_a_warning_exactly_when_they_cannot_work() {
    for function in FUNCTIONS {
        let calls = PHASES.iter().filter(|(name, ..)| *name == function.name);
        let allowed = |features: usize| calls.clone().any(|(_, _, after)| after[features]);
        let (_, call, _) = calls.clone().next().unwrap_or_else(|| panic!("no call of {}", function.name));
        for features in 0..3 {
            let guest = guest().features(features as u32).on_response(call).load();
            let warned = guest.0.facts().warnings.iter().any(|warning| warning.lint == Lint::LateBuffering);
            assert_eq!(warned, !allowed(features) && allowed(2), "{call} with features {features}");
        }
    }
}

/// The ways to run code while an instance is created.
const STARTS: [fn(Wat, &str) -> Wat; 3] = [Wat::on_start, Wat::on_initialize, Wat::on_command];

#[test]
fn enable_features_get_config_log_and_log_enabled_work_at_start_up() {
    for start in STARTS {
        let guest = start(
            guest().config(b"settings"),
            "(if (i32.ne (call $enable_features 2) 7) (then unreachable))
             (if (i32.ne (call $get_config BUF LIMIT) 8) (then unreachable))
             (if (i64.ne (i64.load BUF) (i64.const 0x73676e6974746573)) (then unreachable))
             (call $log 0 \"hello\")
             (if (i32.gt_u (call $log_enabled 0) 1) (then unreachable))",
        );
        guest.load();
    }
}

/// A call of each function that needs a request, or several if they differ.
const NEED_A_REQUEST: [(&str, &str); 17] = [
    ("get_method", "(drop (call $get_method BUF LIMIT))"),
    ("set_method", "(call $set_method \"PUT\")"),
    ("get_uri", "(drop (call $get_uri BUF LIMIT))"),
    ("set_uri", "(call $set_uri \"/a\")"),
    ("get_protocol_version", "(drop (call $get_protocol_version BUF LIMIT))"),
    ("get_source_addr", "(drop (call $get_source_addr BUF LIMIT))"),
    ("get_header_names", "(drop (call $get_header_names 0 BUF LIMIT))"),
    ("get_header_names", "(drop (call $get_header_names 3 BUF LIMIT))"),
    ("get_header_values", "(drop (call $get_header_values 0 \"a\" BUF LIMIT))"),
    ("set_header_value", "(call $set_header_value 1 \"a\" \"b\")"),
    ("set_header_value", "(call $set_header_value 1 \"content-length\" \"5\")"),
    ("add_header_value", "(call $add_header_value 1 \"a\" \"b\")"),
    ("remove_header", "(call $remove_header 1 \"a\")"),
    ("read_body", "(drop (call $read_body 0 BUF LIMIT))"),
    ("write_body", "(call $write_body 1 \"new\")"),
    ("get_status_code", "(drop (call $get_status_code))"),
    ("set_status_code", "(call $set_status_code 404)"),
];

#[test]
fn each_function_either_works_at_start_up_or_is_tested_to_trap_there() {
    const WORK: [&str; 4] = ["enable_features", "get_config", "log", "log_enabled"];
    for function in FUNCTIONS {
        let tried = NEED_A_REQUEST.iter().any(|(name, _)| *name == function.name);
        assert!(tried != WORK.contains(&function.name), "{}", function.name);
    }
}

#[test]
fn all_other_functions_trap_at_start_up_with_no_request_yet() {
    for (function, call) in NEED_A_REQUEST {
        for start in STARTS {
            match start(guest(), call).try_load::<InMemoryHost>() {
                Err(LoadError::Start(error)) => assert_refused(&error, function, None, "no request yet"),
                Err(error) => panic!("{call}: {error}"),
                Ok(_) => panic!("{call} works while an instance is made"),
            }
        }
    }
}
