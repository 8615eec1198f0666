//! Framing of responses without a body: to HEAD, 204 and 304.

use http_wasm_host::InMemoryHost;

use crate::support::{BUFFER_RESPONSE, Probe, UNFRAMED, fill, framing, get, guest, length, proceeds, stops};

fn head() -> InMemoryHost {
    InMemoryHost::new("HEAD", "/")
}

/// A next handler that answers HEAD, or with 304: it declares a length, but sends no bytes.
fn announces(status: u16) -> impl Fn(&mut InMemoryHost) {
    move |next| {
        next.status = status;
        next.response.headers.add(b"content-length", b"1234");
    }
}

/// Guests that write the response body, with or without having read it, or its trailers.
fn writers() -> Vec<Probe<InMemoryHost>> {
    const TRAILER: &str = "(call $set_header_value 3 \"x-t\" \"1\")";
    [
        "(call $write_body 1 \"x\")",
        "(call $read 1 5) (call $write_body 1 \"x\")",
        "(call $read 1 5)",
        "",
        TRAILER,
    ]
    .map(|calls| guest().features(BUFFER_RESPONSE).on_response(calls).load())
    .into()
}

fn assert_bodyless(host: &mut InMemoryHost) {
    let (body, trailers) = host.response.take_body();
    assert_eq!(body, b"");
    assert!(trailers.is_empty(), "{trailers:?}");
}

#[test]
fn a_response_to_head_keeps_the_next_handlers_content_length() {
    for probe in writers() {
        let mut host = probe.run(head(), announces(200));
        assert_eq!(framing(&host.response), length(1234));
        assert_bodyless(&mut host);
    }
}

#[test]
fn a_response_to_head_without_content_length_gets_none() {
    for probe in writers() {
        let mut host = probe.run(head(), |_| {});
        assert_eq!(framing(&host.response), UNFRAMED);
        assert_bodyless(&mut host);
    }
}

#[test]
fn a_304_keeps_the_next_handlers_content_length() {
    for probe in writers() {
        let mut host = probe.run(get(), announces(304));
        assert_eq!(framing(&host.response), length(1234));
        assert_bodyless(&mut host);
    }
}

#[test]
fn a_304_without_content_length_gets_none() {
    for probe in writers() {
        let host = probe.run(get(), |next| next.status = 304);
        assert_eq!(framing(&host.response), UNFRAMED);
    }
}

#[test]
fn a_204_has_neither_body_nor_content_length() {
    for probe in writers() {
        let mut host = probe.run(get(), |next| next.status = 204);
        assert_eq!(framing(&host.response), UNFRAMED);
        assert_bodyless(&mut host);
    }
}

#[test]
fn bytes_written_before_next_are_dropped_from_a_response_without_a_body() {
    let probe = proceeds("(call $write_body 1 \"early\")").load();
    for (host, status) in [(head(), 200), (get(), 304)] {
        let mut host = probe.run(host, announces(status));
        assert_eq!(framing(&host.response), length(1234));
        assert_bodyless(&mut host);
    }
    let mut host = probe.run(get(), |next| next.status = 204);
    assert_eq!(framing(&host.response), UNFRAMED);
    assert_bodyless(&mut host);
}

#[test]
fn a_status_without_a_body_that_the_guest_sets_drops_the_next_handlers_body() {
    for (status, expected) in [(204, UNFRAMED), (304, length(6))] {
        let calls = format!("(call $set_status_code {status})");
        let probe = guest().features(BUFFER_RESPONSE).on_response(&calls).load();
        let mut host = probe.run(get(), |next| fill(&mut next.response, b"answer"));
        assert_eq!(framing(&host.response), expected, "{status}");
        assert_bodyless(&mut host);
    }
}

#[test]
fn a_response_is_framed_when_the_guest_changes_its_status_to_one_with_a_body() {
    for status in [204, 304] {
        for (body, len) in [("", 0), ("(call $write_body 1 \"hello\")", 5)] {
            let calls = format!("(call $set_status_code 200) {body}");
            let probe = guest().features(BUFFER_RESPONSE).on_response(&calls).load();
            let mut host = probe.run(get(), |next| {
                next.status = status;
                if status == 304 {
                    next.response.headers.add(b"content-length", b"1234");
                }
            });
            assert_eq!(framing(&host.response), length(len), "{status}");
            assert_eq!(host.response.take_body().0.len(), len);
        }
    }
}

#[test]
fn a_guests_own_response_to_head_has_the_content_length_of_a_get() {
    let mut host = stops("(call $write_body 1 \"hello\")").load().respond(head());
    assert_eq!(framing(&host.response), length(5));
    assert_bodyless(&mut host);
}

#[test]
fn a_guests_own_204_or_304_has_neither_body_nor_content_length() {
    for status in [204, 304] {
        for body in ["", "(call $write_body 1 \"hello\")"] {
            let probe = stops(&format!("(call $set_status_code {status}) {body}")).load();
            let mut host = probe.respond(get());
            assert_eq!(framing(&host.response), UNFRAMED, "{status}");
            assert_bodyless(&mut host);
        }
    }
}

#[test]
fn a_get_that_the_guest_turned_into_head_is_answered_with_an_empty_body() {
    let probe = proceeds("(call $set_method \"HEAD\")").load();
    let mut host = probe.run(get(), announces(200));
    // The client sent a GET, and waits for as many bytes as are declared.
    assert_eq!(framing(&host.response), length(0));
    assert_bodyless(&mut host);
}

#[test]
fn a_head_that_the_guest_turned_into_get_keeps_the_next_handlers_content_length() {
    let probe = proceeds("(call $set_method \"GET\")").load();
    let host = probe.run(head(), |next| fill(&mut next.response, b"answer"));
    assert_eq!(framing(&host.response), length(6));
}
