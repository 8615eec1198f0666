//! Bodies that arrive while the guest waits for them: exchanges polled by hand, outside any executor.

use http_wasm_host::{InMemoryHost, Outcome};

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, ByHand, eof, get, guest, more, pattern, proceeds, stops, whole,
};

#[test]
fn the_guest_waits_in_read_body_until_its_waker_is_called() {
    let probe = proceeds("(call $read 0 4) (call $read 0 4)").features(BUFFER_REQUEST).load();
    let mut host = get();
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    call.waits();
    let wakes = call.wakes();
    // If it is polled without having been woken, it keeps waiting.
    call.waits();
    assert_eq!(call.wakes(), wakes);
    for (pushed, woken) in [("ab", 1), ("cd", 2), ("ef", 3)] {
        feed.push(pushed);
        assert_eq!(call.wakes(), wakes + woken, "the waker is called once for what arrives");
        call.waits();
        assert_eq!(call.wakes(), wakes + woken, "nobody wakes the task but the body");
    }
    feed.finish(None);
    assert_eq!(call.wakes(), wakes + 4);
    let Ok(Outcome::Next(mut pinned)) = call.ends() else { panic!("the guest proceeds") };
    assert_eq!(pinned.host_mut().request.take_body().0, b"abcdef");
    drop(call);
    crate::support::block_on(pinned.handle_response()).unwrap();
    assert_eq!(probe.notes(), [more("abcd"), eof("ef")]);
}

#[test]
fn handle_response_waits_for_the_next_handlers_body() {
    let probe = guest().features(BUFFER_RESPONSE).on_response("(call $read 1 4) (call $read 1 4)").load();
    let mut pinned = probe.next(get());
    let feed = pinned.host_mut().response.feed_body();
    let mut call = ByHand::new(pinned.handle_response());
    call.waits();
    let wakes = call.wakes();
    for (pushed, woken) in [("a", 1), ("bcd", 2), ("ef", 3)] {
        feed.push(pushed);
        assert_eq!(call.wakes(), wakes + woken);
        call.waits();
    }
    feed.finish(None);
    let mut host = call.ends().unwrap().host;
    assert_eq!(host.response.take_body().0, b"abcdef");
    assert_eq!(probe.notes(), [more("abcd"), eof("ef")]);
}

#[test]
fn the_waker_of_the_latest_poll_is_the_one_that_is_called() {
    let probe = stops("(call $read 0 4)").load();
    let mut host = get();
    let feed = host.request.feed_body();
    let mut call = Box::pin(probe.0.handle_request(host));
    let mut first = ByHand::new(call.as_mut());
    first.waits();
    let before = first.wakes();
    // The task moves to another executor.
    let (mut second, first) = first.handed_over();
    second.waits();
    feed.push("ab");
    assert_eq!((first(), second.wakes()), (before, 1));
}

/// Delivers `body` in pieces, one each time that the guest waits. Returns the host that was passed on.
fn delivered(guest: &http_wasm_host::Guest<InMemoryHost>, body: &[u8], piece: usize) -> InMemoryHost {
    let mut host = get();
    let feed = host.request.feed_body();
    let mut call = ByHand::new(guest.handle_request(host));
    for piece in body.chunks(piece) {
        call.waits();
        feed.push(piece.to_vec());
    }
    call.waits();
    feed.finish(None);
    match call.ends() {
        Ok(Outcome::Respond(host)) => host,
        Ok(_) => panic!("the guest should have stopped"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_read_fills_its_buffer_however_the_bytes_dribble_in() {
    for step in [1, 64, 2048] {
        let probe = stops(&format!("(call $read_all 0 {step})")).pages(2).load();
        for (size, piece) in [(0, 1), (1, 1), (63, 1), (64, 1), (65, 7), (4097, 100), (65_537, 4096)] {
            let body = pattern(size);
            delivered(&probe.0, &body, piece);
            assert_eq!(probe.notes(), whole(&body), "step {step}, size {size}, pieces of {piece}");
        }
    }
}

#[test]
fn a_read_that_is_filled_does_not_wait_for_the_end() {
    let probe = stops("(call $read 0 4)").load();
    let mut host = get();
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    call.waits();
    feed.push("abcd");
    assert!(call.ends().is_ok());
    drop(call);
    assert_eq!(probe.notes(), [more("abcd")]);
}

#[test]
fn an_interrupted_read_loses_no_bytes_of_the_replay() {
    let probe = proceeds("(call $read 0 10)").features(BUFFER_REQUEST).load();
    let mut host = get();
    let feed = host.request.feed_body();
    let mut call = ByHand::new(probe.0.handle_request(host));
    for piece in ["abc", "def", "ghijkl"] {
        call.waits();
        feed.push(piece);
    }
    let Ok(Outcome::Next(mut pinned)) = call.ends() else { panic!("the guest proceeds") };
    assert_eq!(pinned.host_mut().request.take_body().0, b"abcdefghijkl");
    feed.push("mn");
    feed.finish(None);
    assert_eq!(pinned.host_mut().request.take_body().0, b"mn");
}

#[test]
fn the_rest_of_a_body_is_streamed_without_holding_an_instance() {
    let probe = proceeds("(call $read 0 2)")
        .features(BUFFER_REQUEST | BUFFER_RESPONSE)
        .on_response("(call $read 1 2)")
        .load();
    let mut host = get();
    let request = host.request.feed_body();
    request.push("abc");
    let mut pinned = probe.next(host);
    assert_eq!(pinned.host_mut().request.take_body().0, b"abc");
    let response = pinned.host_mut().response.feed_body();
    response.push("xyz");
    // The request body is still arriving: full duplex.
    request.push("def");
    assert_eq!(pinned.host_mut().request.take_body().0, b"def");
    let mut host = crate::support::block_on(pinned.handle_response()).unwrap().host;
    assert_eq!(probe.stats().idle, 1);
    assert_eq!(host.response.take_body().0, b"xyz");
    for _ in 0..3 {
        response.push("more");
        assert_eq!(host.response.take_body().0, b"more");
    }
    response.finish(None);
    request.finish(None);
    assert_eq!(host.response.take_body().0, b"");
}

#[test]
fn bytes_delivered_from_another_thread_arrive() {
    let probe = stops("(call $read_all 0 100)").pages(2).load();
    let body = pattern(5000);
    let mut host = get();
    let feed = host.request.feed_body();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in body.chunks(37) {
                feed.push(piece.to_vec());
                std::thread::yield_now();
            }
            feed.finish(None);
        });
        probe.respond(host);
    });
    assert_eq!(probe.notes(), whole(&body));
}
