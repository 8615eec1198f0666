//! Which guests stream, and which of their messages.

use http_wasm_host::{BodyKind, Detachable, InMemoryHost, Lint, LoadError, OnFailure, Stream};

use super::open::{
    MARKS_REQUEST, MARKS_RESPONSE, OpenMessage as _, begin_request, begin_response, streams_request,
    streams_response,
};
use crate::detach::RcHost;
use crate::support::{BUFFER_RESPONSE, ByHand, Probe, block_on, engine, framing, get, guest, post, proceeds};

#[test]
fn a_guest_that_does_not_declare_it_streams_only_if_that_is_allowed() {
    let undeclared = || guest().on_response(MARKS_RESPONSE).features(BUFFER_RESPONSE);
    let builder = || undeclared().builder(engine()).stream(Stream::Response);
    let text = undeclared().text();
    let refused = builder().load::<InMemoryHost>(text.as_bytes()).err().unwrap().to_string();
    assert!(refused.contains("http-wasm-stream") && refused.contains("undeclared-stream"), "{refused}");
    let allowed = builder().allow(Lint::UndeclaredStream).load::<InMemoryHost>(text.as_bytes()).unwrap();
    assert_eq!(begin_response(&Probe::new(allowed), get(), "one", |_| {}).read(), "one!");
}

#[test]
fn a_precompiled_guest_streams() {
    let wat = streams_response(MARKS_RESPONSE);
    for text in [wat.text(), guest().on_response(MARKS_RESPONSE).features(BUFFER_RESPONSE).text()] {
        let builder = || wat.builder(engine()).allow(Lint::UndeclaredStream);
        let compiled = builder().precompile(text.as_bytes()).unwrap();
        let loaded = builder().trust_precompiled().load::<InMemoryHost>(&compiled).unwrap();
        assert_eq!(begin_response(&Probe::new(loaded), get(), "one", |_| {}).read(), "one!");
    }
}

#[test]
fn a_guest_that_declares_it_runs_as_ever_without_the_setting() {
    let wat = streams_response(MARKS_RESPONSE);
    let builder = wat.builder(engine()).stream(Stream::Off).on_failure(OnFailure::Closed);
    let probe = Probe::new(builder.load::<InMemoryHost>(wat.text().as_bytes()).unwrap());
    let mut host = probe.run(get(), |host| host.response.set_body("one"));
    assert_eq!(host.response.take_body().0, b"one!");
    assert_eq!(framing(&host.response)[0].as_deref(), Some("4"));
}

#[test]
fn both_messages_stream_with_both() {
    let probe = proceeds(MARKS_REQUEST)
        .on_response(MARKS_RESPONSE)
        .features(BUFFER_RESPONSE)
        .streams_as(Stream::Both)
        .load();
    let mut open = begin_request(&probe, get(), "one");
    open.client.finish(None);
    assert_eq!(open.rest().unwrap().0, b"one!");
    let mut pinned = open.passed();
    let upstream = pinned.host_mut().response.feed_body();
    upstream.push("two");
    let handled = ByHand::new(pinned.handle_response()).ends().unwrap();
    assert!(handled.stream.is_some());
    assert_eq!(probe.stats().streaming, 1);
    let mut host = handled.host;
    upstream.finish(None);
    assert_eq!(host.response.take_body().0, b"two!");
}

#[test]
fn only_the_message_that_is_set_streams() {
    let response = MARKS_RESPONSE;
    let both = || proceeds(MARKS_REQUEST).on_response(response).features(BUFFER_RESPONSE);
    for stream in [Stream::Off, Stream::Response] {
        let probe = both().streams_as(stream).load();
        let mut pinned = probe.next(post(b"one"));
        assert_eq!(pinned.host_mut().request.take_body().0, b"one!");
        assert_eq!(framing(&pinned.host_mut().request)[0].as_deref(), Some("4"));
    }
    let probe = both().streams_as(Stream::Request).load();
    let mut open = begin_request(&probe, get(), "one");
    open.client.finish(None);
    open.rest().unwrap();
    let mut pinned = open.passed();
    pinned.host_mut().response.set_body("two");
    let mut handled = block_on(pinned.handle_response()).unwrap();
    assert!(handled.stream.is_none());
    assert_eq!(handled.host.response.take_body().0, b"two!");
}

#[test]
fn a_server_that_cannot_stream_refuses_the_guest() {
    for (kind, wat) in [
        (BodyKind::Request, streams_request(MARKS_REQUEST)),
        (BodyKind::Response, streams_response(MARKS_RESPONSE)),
    ] {
        let refused = wat.builder(engine()).load::<Detachable<RcHost>>(wat.text().as_bytes());
        assert!(matches!(refused, Err(LoadError::Stream { message, .. }) if message == kind));
    }
}
