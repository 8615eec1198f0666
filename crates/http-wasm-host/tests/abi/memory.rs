//! Buffers and strings in the guest's memory: `buf_limit`, and out-of-bounds accesses.

use http_wasm_host::{InMemoryHost, Phase};

use crate::support::{Probe, assert_refused, fill, get, number, post, stops, text};

/// Functions that write a value: the name, the call without the buffer, and the value.
const GETTERS: [(&str, &str, &str); 7] = [
    ("get_config", "(call $get_config {})", "settings"),
    ("get_method", "(call $get_method {})", "OPTIONS"),
    ("get_uri", "(call $get_uri {})", "/path?query"),
    ("get_protocol_version", "(call $get_protocol_version {})", "HTTP/1.1"),
    ("get_source_addr", "(call $get_source_addr {})", "192.0.2.1:80"),
    ("get_header_names", "(i32.wrap_i64 (call $get_header_names 0 {}))", "x-a\0x-b\0"),
    ("get_header_values", "(i32.wrap_i64 (call $get_header_values 0 \"x-a\" {}))", "one\0two\0"),
];

fn request() -> InMemoryHost {
    let mut host = InMemoryHost::new("OPTIONS", "/path?query");
    host.source_addr = Some(([192, 0, 2, 1], 80).into());
    for (name, value) in [("x-a", "one"), ("x-b", ""), ("x-a", "two")] {
        host.request.headers.add(name.as_bytes(), value.as_bytes());
    }
    host
}

fn load(body: &str) -> Probe<InMemoryHost> {
    stops(body).config(b"settings").load()
}

#[test]
fn a_value_over_buf_limit_is_not_written_and_its_length_is_returned() {
    for (_, call, value) in GETTERS {
        for limit in [0, 1, value.len() - 1] {
            let call = call.replace("{}", &format!("BUF {limit}"));
            let probe = load(&format!("(memory.fill BUF 0xaa 64) (call $note {call}) (call $note_text 64)"));
            assert_eq!(probe.noted(request()), [number(value.len() as u64), text([0xaa; 64])], "{call}");
        }
    }
}

#[test]
fn a_value_that_fits_is_written_and_nothing_beyond_it() {
    for (_, call, value) in GETTERS {
        for limit in [value.len() as i32, value.len() as i32 + 1, 0x7fff_ffff, -1] {
            let call = call.replace("{}", &format!("BUF {limit}"));
            let probe = load(&format!("(memory.fill BUF 0xaa 64) (call $note {call}) (call $note_text 64)"));
            let mut written = [0xaa; 64];
            written[..value.len()].copy_from_slice(value.as_bytes());
            assert_eq!(probe.noted(request()), [number(value.len() as u64), text(written)], "{call}");
        }
    }
}

#[test]
fn only_the_bytes_actually_written_to_the_buffer_must_be_in_bounds() {
    for (_, call, value) in GETTERS {
        let len = value.len();
        let last = 65_536 - len;
        let fits = call.replace("{}", &format!("{last} -1"));
        let too_long = call.replace("{}", &format!("65536 {}", len - 1));
        let only_asked = call.replace("{}", "-1 0");
        let probe = load(&format!(
            "(call $note {fits}) (call $note_bytes {last} {len}) (call $note {too_long}) (call $note {only_asked})"
        ));
        let len = number(len as u64);
        assert_eq!(probe.noted(request()), [len.clone(), text(value), len.clone(), len], "{call}");
    }
}

#[test]
fn a_value_that_would_be_written_out_of_bounds_traps() {
    for (function, call, value) in GETTERS {
        for offset in [65_536 - value.len() as i32 + 1, 65_535, 65_536, 0x7fff_ffff, -1] {
            let call = call.replace("{}", &format!("{offset} {}", value.len()));
            let error = load(&format!("(drop {call})")).error(request());
            assert_refused(&error, function, Some(Phase::Request), "buf is out of bounds");
            // At the end of the address space, the range would wrap around.
            let call = call.replace(&format!("{offset} {}", value.len()), &format!("{offset} -1"));
            let error = load(&format!("(drop {call})")).error(request());
            assert_refused(&error, function, Some(Phase::Request), "out of bounds");
        }
    }
}

#[test]
fn an_empty_value_is_not_written_so_any_buffer_address_is_valid() {
    let probe = stops(
        "(call $note (call $get_config -1 -1))
         (call $note (call $get_source_addr 65536 10))
         (call $note64 (call $get_header_names 0 -1 -1))
         (call $note64 (call $get_header_values 0 \"none\" -1 -1))",
    )
    .load();
    assert_eq!(probe.noted(get()), [0; 4].map(number));
}

#[test]
fn a_value_may_overwrite_the_name_passed_to_the_same_call() {
    let probe = stops(
        "(memory.copy BUF \"x-long\")
         (call $note_list (call $get_header_values 0 BUF 6 BUF LIMIT))",
    )
    .load();
    let mut host = get();
    host.request.headers.add(b"x-long", &[b'v'; 100]);
    assert_eq!(probe.noted(host), [crate::support::list([[b'v'; 100]])]);
}

/// Functions that read from memory: the name, the argument, and the call without offset and length.
const FUNCTIONS_WITH_INPUT: [(&str, &str, &str); 9] = [
    ("log", "message", "(call $log 0 {})"),
    ("set_method", "method", "(call $set_method {})"),
    ("set_uri", "uri", "(call $set_uri {})"),
    ("get_header_values", "name", "(drop (call $get_header_values 0 {} BUF LIMIT))"),
    ("set_header_value", "name", "(call $set_header_value 0 {} \"b\")"),
    ("set_header_value", "value", "(call $set_header_value 0 \"a\" {})"),
    ("add_header_value", "value", "(call $add_header_value 0 \"a\" {})"),
    ("remove_header", "name", "(call $remove_header 0 {})"),
    ("write_body", "body", "(call $write_body 0 {})"),
];

#[test]
fn a_string_out_of_bounds_traps() {
    for (function, argument, call) in FUNCTIONS_WITH_INPUT {
        for range in ["65536 1", "65535 2", "0 65537", "-1 1", "-1 2", "2 -1", "0 -1"] {
            let error = load(&call.replace("{}", range)).error(get());
            let reason = format!("{argument} is out of bounds");
            assert_refused(&error, function, Some(Phase::Request), &reason);
        }
    }
}

#[test]
fn a_log_message_out_of_bounds_traps_whatever_its_level() {
    for level in [-1, 0, 3, 42] {
        let error = load(&format!("(call $log {level} 65536 1)")).error(get());
        assert_refused(&error, "log", Some(Phase::Request), "out of bounds");
    }
}

#[test]
fn the_pointer_of_an_empty_string_does_not_matter() {
    for offset in ["0", "65536", "-1"] {
        let probe = load(&format!(
            "(call $log 0 {offset} 0)
             (call $set_uri {offset} 0)
             (call $set_header_value 0 \"a\" {offset} 0)
             (call $add_header_value 0 \"a\" {offset} 0)
             (call $write_body 0 {offset} 0)"
        ));
        let host = probe.respond(get());
        assert_eq!(host.uri, b"/");
        assert_eq!(host.request.headers.values(b"a").collect::<Vec<_>>(), [b"", b""]);
    }
}

#[test]
fn setting_an_empty_method_and_setting_or_adding_an_empty_header_name_trap() {
    for (function, argument, call) in FUNCTIONS_WITH_INPUT {
        if argument == "method" || argument == "name" && ["set_", "add_"].contains(&&function[..4]) {
            let error = load(&call.replace("{}", "0 0")).error(get());
            let reason = format!("{argument} is empty");
            assert_refused(&error, function, Some(Phase::Request), &reason);
        }
    }
}

#[test]
fn read_body_requires_its_whole_buffer_in_bounds() {
    for buffer in ["65533 4", "65536 1", "0 65537", "-1 1", "0 -1"] {
        for kind in [0, 1] {
            let error = load(&format!("(drop (call $read_body {kind} {buffer}))")).error(post(b"x"));
            assert_refused(&error, "read_body", Some(Phase::Request), "buf is out of bounds");
        }
    }
    let probe = load("(call $note64 (call $read_body 0 65532 4)) (call $note_bytes 65532 1)");
    assert_eq!(probe.noted(post(b"x")), [number(1 << 32 | 1), text("x")]);
}

#[test]
fn read_body_with_buf_limit_zero_traps() {
    for kind in [0, 1] {
        let error = load(&format!("(drop (call $read_body {kind} BUF 0))")).error(post(b"x"));
        assert_refused(&error, "read_body", Some(Phase::Request), "buf_limit is 0");
    }
}

#[test]
fn read_body_writes_only_the_bytes_it_read() {
    let probe = load(
        "(memory.fill BUF 0xaa 64)
         (drop (call $read_body 0 BUF 4)) (call $note_text 8)
         (drop (call $read_body 0 BUF 60)) (call $note_text 8)",
    );
    let mut host = get();
    fill(&mut host.request, b"abcdef");
    assert_eq!(probe.noted(host), [text(b"abcd\xaa\xaa\xaa\xaa"), text(b"efcd\xaa\xaa\xaa\xaa")]);
}
