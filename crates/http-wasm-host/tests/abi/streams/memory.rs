//! The budget for body memory and messages that are sent while the guest is writing them.

use http_wasm_host::{Engine, Error, ErrorKind, InMemoryHost};

use super::open::{OpenMessage as _, begin_request, begin_response};
use crate::support::{BUFFER_REQUEST, BUFFER_RESPONSE, ByHand, Probe, Wat, get, proceeds};

const KIB: usize = 1024;

fn engine() -> Engine {
    Engine::builder().body_memory_budget(1024 * KIB).build().unwrap()
}

fn load(engine: &Engine, wat: Wat) -> Probe<InMemoryHost> {
    let wat = wat.pages(8);
    Probe::new(wat.builder(engine).load(wat.text().as_bytes()).unwrap())
}

fn held(engine: &Engine) -> usize {
    engine.body_budget().memory().held
}

/// Held for a response, so that the request isn't too small to be evicted.
const EARLY: usize = 100_000;

/// Runs `begin`, which begins a message, and then lets an older request take its memory. `evicted` gets what `begin`
/// has returned.
fn evicted_by_an_older_request<T>(engine: &Engine, begin: impl FnOnce() -> T) -> T {
    let older = load(engine, proceeds("(call $read_all 0 LIMIT)").features(BUFFER_REQUEST));
    let mut host = get();
    let client = host.request.feed_body();
    let mut call = ByHand::new(older.0.handle_request(host));
    client.push(vec![0; 600 * KIB]);
    call.waits();
    let before = held(engine);
    let open = begin();
    assert_eq!(held(engine) - before, EARLY + 64 * KIB);
    client.push(vec![0; 400 * KIB]);
    call.waits();
    assert_eq!(engine.body_budget().memory().evicted, 1);
    open
}

#[test]
fn a_request_whose_write_waits_is_woken_and_fails_when_it_is_evicted() {
    let engine = engine();
    let writes = format!("(call $write_body 1 BUF {EARLY}) (call $write_body 0 BUF 200000)");
    let probe = load(&engine, proceeds(&writes).streams_as(http_wasm_host::Stream::Request));
    let (mut open, mut guest) = evicted_by_an_older_request(&engine, || {
        let mut open = begin_request(&probe, get(), "");
        let mut guest = ByHand::new(open.guest.take().unwrap());
        guest.waits();
        assert_eq!(guest.wakes(), 0);
        (open, guest)
    });
    assert_eq!(guest.wakes(), 1);
    assert_eq!(held(&engine), EARLY, "the piece is released at once");
    let error = guest.ends().unwrap_err();
    assert_eq!((error.kind(), error.function()), (ErrorKind::BodyMemory, Some("write_body")), "{error}");
    drop(error);
    assert_eq!(held(&engine), 0);
    assert!(open.rest().is_err(), "it isn't ended as if it were whole");
}

#[test]
fn a_response_that_nobody_reads_holds_no_memory_after_it_is_evicted() {
    let engine = engine();
    let wat = proceeds(&format!("(call $write_body 1 BUF {EARLY})"))
        .on_response("(call $write_body 1 BUF 200000)")
        .features(BUFFER_RESPONSE)
        .streams();
    let probe = load(&engine, wat);
    let mut open = evicted_by_an_older_request(&engine, || begin_response(&probe, get(), "original", |_| {}));
    assert_eq!(held(&engine), EARLY, "the piece is released at once");
    let error = open.rest().unwrap_err();
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!((error.kind(), error.function()), (ErrorKind::BodyMemory, Some("write_body")), "{error}");
    assert_eq!(held(&engine), 0);
}
