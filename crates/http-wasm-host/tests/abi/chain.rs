//! Messages that pass through several guests, on the in-memory host.

use http_wasm_host::InMemoryHost;

use crate::support::{
    BUFFER_REQUEST, Wat, feed, fields, framing, get, header, length, post, proceeds, stops,
};

/// Sends a request through two guests, of which the first is outermost. Returns what the next handler gets.
fn chained(first: Wat, second: Wat, host: InMemoryHost) -> InMemoryHost {
    let (first, second) = (first.load(), second.load());
    let mut outer = first.next(host);
    let between = std::mem::replace(outer.host_mut(), get());
    let mut inner = second.next(between);
    std::mem::replace(inner.host_mut(), get())
}

#[test]
fn a_second_guest_sees_the_request_as_changed_by_the_first() {
    let first = "(call $set_method \"PUT\") (call $set_header_value 0 \"x-first\" \"1\")
                 (call $write_body 0 BUF (i32.wrap_i64 (call $read_body 0 BUF LIMIT))) (call $write_body 0 \"!\")";
    let second =
        "(call $write_body 0 BUF (call $get_method BUF LIMIT)) (call $add_header_value 0 \"x-first\" \"2\")
                  (call $write_body 0 BUF (i32.wrap_i64 (call $read_body 0 BUF LIMIT)))";
    let mut host = chained(proceeds(first), proceeds(second), post(b"abc"));
    assert_eq!(header(&host.request, "x-first").as_deref(), Some("1|2"));
    assert_eq!(framing(&host.request), length(7));
    assert_eq!(host.request.take_body().0, b"PUTabc!");
}

#[test]
fn edits_of_trailers_by_two_guests_add_up() {
    let edit = |value: &str| format!("(call $add_header_value 2 \"t\" \"{value}\")");
    for first in ["", "(call $read 0 2)", "(call $read 0 10)"] {
        for second in ["", "(call $read 0 2)", "(call $read 0 10)"] {
            let mut host = get();
            feed(&mut host.request, [&b"abc"[..], b"def"].into_iter(), Some(fields(&[("t", "1")])));
            let mut host = chained(
                proceeds(&format!("{first} {}", edit("2"))).features(BUFFER_REQUEST),
                proceeds(&format!("{second} {}", edit("3"))).features(BUFFER_REQUEST),
                host,
            );
            let (body, trailers) = host.request.take_body();
            assert_eq!(body, b"abcdef");
            assert_eq!(trailers, fields(&[("t", "1"), ("t", "2"), ("t", "3")]), "{first:?} then {second:?}");
        }
    }
}

#[test]
fn edits_of_trailers_survive_a_second_guest_that_only_reads() {
    for second in ["", "(call $read 0 2)", "(call $read 0 10)"] {
        let mut host = chained(
            proceeds("(call $set_header_value 2 \"t\" \"1\")"),
            proceeds(second).features(BUFFER_REQUEST),
            post(b"abcdef"),
        );
        let (body, trailers) = host.request.take_body();
        assert_eq!(body, b"abcdef");
        assert_eq!(trailers, fields(&[("t", "1")]), "{second:?}");
    }
}

#[test]
fn an_inner_guests_response_is_seen_by_the_outer_guest() {
    let outer = proceeds("")
        .features(2)
        .on_response("(call $write_body 1 BUF (i32.wrap_i64 (call $read_body 1 BUF LIMIT))) (call $write_body 1 \"!\")")
        .load();
    let inner = stops("(call $set_status_code 403) (call $write_body 1 \"no\")").load();
    let mut pinned = outer.next(get());
    let between = std::mem::replace(pinned.host_mut(), get());
    *pinned.host_mut() = inner.respond(between);
    let mut host = crate::support::block_on(pinned.handle_response()).unwrap().host;
    assert_eq!((host.status, framing(&host.response)), (403, length(3)));
    assert_eq!(host.response.take_body().0, b"no!");
}
