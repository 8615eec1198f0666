//! Parts of the response that the guest sets in `handle_request`, and what happens to them if it proceeds or stops.

use http_wasm_host::InMemoryHost;

use crate::support::{
    BUFFER_RESPONSE, UNFRAMED, block_on, eof, feed, fill, framing, get, header, length, list, more, proceeds,
    stops,
};

fn answers(host: &mut InMemoryHost) {
    host.status = 201;
    fill(&mut host.response, b"answer");
    for (name, value) in [("server", "origin"), ("set-cookie", "a=1"), ("vary", "x"), ("vary", "y")] {
        host.response.headers.add(name.as_bytes(), value.as_bytes());
    }
}

#[test]
fn the_next_handlers_headers_replace_those_of_the_same_name_and_others_stay() {
    let probe = proceeds(
        "(call $set_header_value 1 \"Server\" \"guest\") (call $add_header_value 1 \"server\" \"too\")
         (call $set_header_value 1 \"vary\" \"z\")
         (call $set_header_value 1 \"x-guest\" \"1\") (call $add_header_value 1 \"x-guest\" \"2\")",
    )
    .load();
    let host = probe.run(get(), answers);
    let response = |name| header(&host.response, name);
    assert_eq!(response("server").as_deref(), Some("origin"));
    assert_eq!(response("vary").as_deref(), Some("x|y"));
    assert_eq!(response("x-guest").as_deref(), Some("1|2"));
    assert_eq!(response("set-cookie").as_deref(), Some("a=1"));
}

#[test]
fn cookies_set_before_next_come_first_and_the_next_handlers_are_appended() {
    let probe = proceeds(
        "(call $add_header_value 1 \"Set-Cookie\" \"b=2\") (call $add_header_value 1 \"set-cookie\" \"c=3\")",
    )
    .load();
    let host = probe.run(get(), answers);
    assert_eq!(header(&host.response, "set-cookie").as_deref(), Some("b=2|c=3|a=1"));
    let host = probe.run(get(), |_| {});
    assert_eq!(header(&host.response, "set-cookie").as_deref(), Some("b=2|c=3"));
}

#[test]
fn body_bytes_written_before_next_come_first_and_the_next_handlers_body_follows() {
    let probe = proceeds("(call $write_body 1 \"early, \") (call $write_body 1 \"then \")").load();
    let mut host = probe.run(get(), answers);
    assert_eq!(framing(&host.response), length(18));
    assert_eq!(host.response.take_body().0, b"early, then answer");
    assert_eq!(host.status, 201);
}

#[test]
fn a_body_of_unknown_length_after_early_bytes_gets_no_content_length() {
    let probe = proceeds("(call $write_body 1 \"early \")").load();
    let mut body = None;
    let mut host = probe.run(get(), |next| {
        next.response.headers.add(b"content-length", b"6");
        let feed = next.response.feed_body();
        feed.push("ans");
        body = Some(feed);
    });
    assert_eq!(framing(&host.response), UNFRAMED);
    assert_eq!(host.response.take_body().0, b"early ans");
    let body = body.unwrap();
    body.push("wer");
    body.finish(None);
    assert_eq!(host.response.take_body().0, b"wer");
}

#[test]
fn without_writes_before_next_the_next_handlers_body_is_unchanged() {
    let probe = proceeds("(call $write_body 1 0 0)").load();
    let mut host = probe.run(get(), |next| {
        next.response.headers.add(b"transfer-encoding", b"chunked");
        feed(&mut next.response, [&b"answer"[..]].into_iter(), None);
    });
    assert_eq!(framing(&host.response), [None, Some("chunked".into()), None]);
    assert_eq!(host.response.take_body().0, b"answer");
}

#[test]
fn handle_response_reads_the_joined_response() {
    let probe = proceeds(
        "(call $write_body 1 \"early \") (call $set_header_value 1 \"server\" \"guest\")
         (call $set_header_value 1 \"x-guest\" \"1\")",
    )
    .features(BUFFER_RESPONSE)
    .on_response(
        "(call $read 1 4) (call $read 1 4) (call $read 1 10)
         (call $note_list (call $get_header_values 1 \"server\" BUF LIMIT))
         (call $note_list (call $get_header_values 1 \"x-guest\" BUF LIMIT))",
    )
    .load();
    let mut host = probe.run(get(), answers);
    assert_eq!(framing(&host.response), length(12));
    assert_eq!(host.response.take_body().0, b"early answer");
    let expected = [more("earl"), more("y an"), eof("swer"), list(["origin"]), list(["1"])];
    assert_eq!(probe.notes(), expected);
}

#[test]
fn early_headers_can_be_changed_or_removed_in_handle_response() {
    let probe =
        proceeds("(call $set_header_value 1 \"x-a\" \"early\") (call $set_header_value 1 \"x-b\" \"early\")")
            .features(BUFFER_RESPONSE)
            .on_response("(call $set_header_value 1 \"x-a\" \"late\") (call $remove_header 1 \"x-b\")")
            .load();
    let host = probe.run(get(), answers);
    assert_eq!(header(&host.response, "x-a").as_deref(), Some("late"));
    assert_eq!(header(&host.response, "x-b"), None);
}

#[test]
fn a_guest_that_stops_answers_with_the_status_headers_and_body_it_has_set() {
    let probe = stops(
        "(call $set_status_code 401) (call $set_header_value 1 \"WWW-Authenticate\" \"Basic\")
         (call $add_header_value 1 \"set-cookie\" \"a=1\") (call $add_header_value 1 \"set-cookie\" \"b=2\")
         (call $write_body 1 \"who \") (call $write_body 1 \"are you?\")",
    )
    .load();
    let mut host = probe.respond(get());
    assert_eq!(host.status, 401);
    assert_eq!(header(&host.response, "www-authenticate").as_deref(), Some("Basic"));
    assert_eq!(header(&host.response, "set-cookie").as_deref(), Some("a=1|b=2"));
    assert_eq!(framing(&host.response), length(12));
    assert_eq!(host.response.take_body().0, b"who are you?");
}

#[test]
fn a_guest_that_stops_and_writes_nothing_answers_with_an_empty_body() {
    let mut host = stops("(call $set_status_code 403)").load().respond(get());
    assert_eq!(framing(&host.response), length(0));
    assert_eq!(host.response.take_body().0, b"");
}

#[test]
fn early_response_parts_do_not_leak_into_the_next_request_on_the_instance() {
    let probe = proceeds(
        "(if (i32.eq (call $get_uri BUF 0) 4)
           (then (call $set_status_code 404) (call $set_header_value 1 \"x-guest\" \"1\")
                 (call $write_body 1 \"early \") (call $set_header_value 3 \"t\" \"1\")))",
    )
    .load();
    probe.run(InMemoryHost::new("GET", "/set"), answers);
    let mut host = probe.run(get(), answers);
    assert_eq!(header(&host.response, "x-guest"), None);
    let (body, trailers) = host.response.take_body();
    assert_eq!(body, b"answer");
    assert!(trailers.is_empty());
    assert_eq!(probe.stats().created, 1);
}

#[test]
fn after_an_error_of_the_next_handler_the_response_is_what_the_guest_has_set() {
    let probe = proceeds(
        "(call $set_status_code 503) (call $set_header_value 1 \"retry-after\" \"1\") (call $write_body 1 \"sorry\")",
    )
    .on_response("(call $note (local.get $is_error)) (call $note (call $get_status_code))")
    .load();
    let pinned = probe.next(get());
    let mut host = block_on(pinned.handle_error()).unwrap();
    assert_eq!(host.status, 503);
    assert_eq!(header(&host.response, "retry-after").as_deref(), Some("1"));
    assert_eq!(framing(&host.response), length(5));
    assert_eq!(host.response.take_body().0, b"sorry");
    assert_eq!(probe.notes(), [1, 503].map(crate::support::number));
}

#[test]
fn after_an_error_of_the_next_handler_the_guest_may_answer_itself() {
    let probe = proceeds("")
        .features(BUFFER_RESPONSE)
        .on_response(
            "(if (local.get $is_error)
               (then (call $set_status_code 502) (call $set_header_value 1 \"x\" \"y\") (call $write_body 1 \"oh\")))",
        )
        .load();
    let mut host = block_on(probe.next(get()).handle_error()).unwrap();
    assert_eq!((host.status, header(&host.response, "x").as_deref()), (502, Some("y")));
    assert_eq!(framing(&host.response), length(2));
    assert_eq!(host.response.take_body().0, b"oh");
}
