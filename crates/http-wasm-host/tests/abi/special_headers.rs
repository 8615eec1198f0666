//! Headers that guests don't fully control: `host`, connection headers, and framing headers.

use http_wasm_host::{InMemoryHost, Phase};

use crate::support::{assert_refused, fill, get, guest, header, list, post, proceeds, stops};

fn with_host() -> InMemoryHost {
    let mut host = get();
    host.request.headers.add(b"host", b"example.com");
    host
}

#[test]
fn host_is_read_like_any_header() {
    let probe = stops(
        "(call $note_list (call $get_header_names 0 BUF LIMIT))
         (call $note_list (call $get_header_values 0 \"Host\" BUF LIMIT))",
    )
    .load();
    assert_eq!(probe.noted(with_host()), [list(["host"]), list(["example.com"])]);
}

#[test]
fn setting_the_host_takes_effect_on_what_the_next_handler_sees() {
    let probe = proceeds("(call $set_header_value 0 \"Host\" \"other.example:8080\")").load();
    let mut pinned = probe.next(with_host());
    assert_eq!(header(&pinned.host_mut().request, "host").as_deref(), Some("other.example:8080"));
}

#[test]
fn adding_a_host_replaces_it() {
    let probe = proceeds(
        "(call $add_header_value 0 \"host\" \"other.example\")
         (call $note_list (call $get_header_values 0 \"host\" BUF LIMIT))",
    )
    .load();
    assert_eq!(probe.noted(with_host()), [list(["other.example"])]);
}

#[test]
fn removing_the_host_traps() {
    for name in ["host", "Host"] {
        let error = stops(&format!("(call $remove_header 0 \"{name}\")")).load().error(with_host());
        assert_refused(&error, "remove_header", Some(Phase::Request), "host");
    }
}

#[test]
fn setting_an_invalid_host_traps() {
    for value in ["a b", "user@example.com", "example.com/path", "example.com:port"] {
        let error =
            stops(&format!("(call $set_header_value 0 \"host\" \"{value}\")")).load().error(with_host());
        assert_refused(&error, "set_header_value", Some(Phase::Request), "not a valid host");
    }
}

#[test]
fn host_is_an_ordinary_header_of_a_response() {
    let probe = stops(
        "(call $add_header_value 1 \"host\" \"a b\") (call $add_header_value 1 \"host\" \"c\")
         (call $set_header_value 1 \"x\" \"y\") (call $remove_header 1 \"x\")",
    )
    .load();
    let host = probe.respond(get());
    assert_eq!(header(&host.response, "host").as_deref(), Some("a b|c"));
}

const CONNECTION: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings"];

#[test]
fn connection_headers_that_a_guest_sets_are_ignored() {
    for name in CONNECTION.into_iter().chain(["Connection", "UPGRADE"]) {
        for function in ["set_header_value", "add_header_value"] {
            let probe = proceeds(&format!(
                "(call ${function} 0 \"{name}\" \"x\") (call ${function} 1 \"{name}\" \"x\")"
            ))
            .features(2)
            .on_response(&format!("(call ${function} 1 \"{name}\" \"x\")"))
            .load();
            let host = probe.run(get(), |next| {
                assert!(next.request.headers.is_empty(), "{name} is in the request");
            });
            assert!(!host.response.headers.contains(name.as_bytes()), "{name} is in the response");
        }
    }
}

#[test]
fn existing_connection_headers_are_kept() {
    let probe = proceeds("(call $set_header_value 0 \"upgrade\" \"forged\")").load();
    let mut host = get();
    host.request.headers.add(b"upgrade", b"websocket");
    let mut pinned = probe.next(host);
    assert_eq!(header(&pinned.host_mut().request, "upgrade").as_deref(), Some("websocket"));
}

#[test]
fn framing_headers_set_on_a_request_are_accepted_and_ignored() {
    for (name, value) in [
        ("content-length", "99"),
        ("Content-Length", "nonsense"),
        ("content-length", ""),
        ("transfer-encoding", "chunked"),
        ("Transfer-Encoding", "gzip"),
    ] {
        for function in ["set_header_value", "add_header_value"] {
            let probe = proceeds(&format!("(call ${function} 0 \"{name}\" \"{value}\")")).load();
            let mut pinned = probe.next(post(b"body"));
            let request = &mut pinned.host_mut().request;
            assert_eq!(header(request, "content-length").as_deref(), Some("4"), "{name}: {value}");
            assert_eq!(header(request, "transfer-encoding"), None);
            assert_eq!(request.take_body().0, b"body");
        }
    }
}

#[test]
fn framing_headers_set_on_the_guests_own_response_are_accepted_and_ignored() {
    for (name, value) in [("content-length", "99"), ("transfer-encoding", "chunked")] {
        let probe = stops(&format!(
            "(call $set_header_value 1 \"{name}\" \"{value}\") (call $write_body 1 \"hello\")"
        ))
        .load();
        let mut host = probe.respond(get());
        assert_eq!(header(&host.response, "content-length").as_deref(), Some("5"));
        assert_eq!(header(&host.response, "transfer-encoding"), None);
        assert_eq!(host.response.take_body().0, b"hello");
    }
}

#[test]
fn framing_headers_set_on_the_next_handlers_response_are_accepted_and_ignored() {
    for (name, value) in [("content-length", "99"), ("transfer-encoding", "chunked")] {
        let probe = guest()
            .features(2)
            .on_response(&format!("(call $set_header_value 1 \"{name}\" \"{value}\")"))
            .load();
        let mut host = probe.run(get(), |next| fill(&mut next.response, b"hello"));
        assert_eq!(header(&host.response, "content-length").as_deref(), Some("5"));
        assert_eq!(header(&host.response, "transfer-encoding"), None);
        assert_eq!(host.response.take_body().0, b"hello");
    }
}

#[test]
fn framing_headers_cannot_be_removed() {
    let probe = proceeds("(call $remove_header 0 \"content-length\")")
        .features(2)
        .on_response("(call $remove_header 1 \"Content-Length\")")
        .load();
    let host = probe.run(post(b"body"), |next| {
        assert_eq!(header(&next.request, "content-length").as_deref(), Some("4"));
        fill(&mut next.response, b"hello");
    });
    assert_eq!(header(&host.response, "content-length").as_deref(), Some("5"));
}

#[test]
fn content_length_zero_empties_a_request() {
    for function in ["set_header_value", "add_header_value"] {
        let probe = proceeds(&format!("(call ${function} 0 \"Content-Length\" \"0\")")).load();
        let mut pinned = probe.next(post(b"body"));
        let request = &mut pinned.host_mut().request;
        assert_eq!(header(request, "content-length").as_deref(), Some("0"));
        assert_eq!(request.take_body().0, b"");
    }
}

#[test]
fn content_length_zero_empties_the_body_that_the_guest_has_written() {
    let probe =
        stops("(call $write_body 1 \"hello\") (call $set_header_value 1 \"content-length\" \"0\")").load();
    let mut host = probe.respond(get());
    assert_eq!(header(&host.response, "content-length").as_deref(), Some("0"));
    assert_eq!(host.response.take_body().0, b"");
}

#[test]
fn content_length_zero_empties_the_next_handlers_response() {
    let probe = guest()
        .features(2)
        .on_response("(call $set_status_code 403) (call $set_header_value 1 \"content-length\" \"0\")")
        .load();
    let mut host = probe.run(get(), |next| fill(&mut next.response, b"secret"));
    assert_eq!(host.status, 403);
    assert_eq!(header(&host.response, "content-length").as_deref(), Some("0"));
    assert_eq!(host.response.take_body().0, b"");
}

#[test]
fn bytes_written_after_content_length_zero_are_sent() {
    let probe = guest()
        .features(2)
        .on_response("(call $set_header_value 1 \"content-length\" \"0\") (call $write_body 1 \"blocked\")")
        .load();
    let mut host = probe.run(get(), |next| fill(&mut next.response, b"secret"));
    assert_eq!(header(&host.response, "content-length").as_deref(), Some("7"));
    assert_eq!(host.response.take_body().0, b"blocked");
}

#[test]
fn content_length_zero_before_next_does_not_affect_the_next_handlers_response() {
    let probe = proceeds("(call $set_header_value 1 \"content-length\" \"0\")").load();
    let mut host = probe.run(get(), |next| fill(&mut next.response, b"hello"));
    assert_eq!(header(&host.response, "content-length").as_deref(), Some("5"));
    assert_eq!(host.response.take_body().0, b"hello");
}

#[test]
fn framing_and_connection_fields_are_ignored_among_trailers() {
    let names = ["content-length", "transfer-encoding", "trailer", "connection", "te"];
    let calls: String =
        names.iter().map(|name| format!("(call $set_header_value 3 \"{name}\" \"0\")")).collect();
    let probe = guest().features(2).on_response(&calls).load();
    let mut host = probe.run(get(), |next| fill(&mut next.response, b"hello"));
    assert_eq!(header(&host.response, "content-length").as_deref(), Some("5"));
    let (body, trailers) = host.response.take_body();
    assert_eq!(body, b"hello");
    assert!(trailers.is_empty(), "{trailers:?}");
}
