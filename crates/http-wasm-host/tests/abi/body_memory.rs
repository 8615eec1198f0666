//! The memory budget for held bodies: what counts, for how long, and which requests are refused.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use http_wasm_host::{Body, BoxError, Engine, ErrorKind, Handled, HttpHost, Limits, NoBodyMemory, Outcome};

use crate::support::{
    BUFFER_REQUEST, BUFFER_RESPONSE, ByHand, Probe, Wat, block_on, eventually, guest, pattern, proceeds,
    stops,
};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn engine(body_memory: usize) -> Engine {
    Engine::builder().body_memory_budget(body_memory).build().unwrap()
}

fn load(engine: &Engine, wat: Wat) -> Probe<HttpHost> {
    let wat = wat.pages(2);
    Probe::new(wat.builder(engine).load(wat.text().as_bytes()).unwrap())
}

fn held(engine: &Engine) -> usize {
    engine.body_budget().memory().held
}

/// Reads the request's body to the end, and keeps it for the next handler.
fn reads_request() -> Wat {
    proceeds("(call $read_all 0 LIMIT)").features(BUFFER_REQUEST)
}

/// The sending end of a body. `Some(length)` declares its length.
#[derive(Clone, Default)]
struct Sender(Arc<Mutex<Sent>>);

#[derive(Default)]
struct Sent {
    length: Option<u64>,
    frames: Vec<Frame<Bytes>>,
    ended: bool,
    waker: Option<Waker>,
}

impl Sender {
    fn announcing(length: usize) -> Self {
        let sender = Self::default();
        sender.0.lock().unwrap().length = Some(length as u64);
        sender
    }

    fn send(&self, bytes: usize) {
        self.frame(Frame::data(pattern(bytes).into()));
    }

    fn frame(&self, frame: Frame<Bytes>) {
        let mut sent = self.0.lock().unwrap();
        sent.frames.push(frame);
        if let Some(waker) = sent.waker.take() {
            waker.wake();
        }
    }

    fn end(&self) {
        let mut sent = self.0.lock().unwrap();
        sent.ended = true;
        if let Some(waker) = sent.waker.take() {
            waker.wake();
        }
    }

    fn post(&self) -> HttpHost {
        post(Body::new(Received(self.clone())))
    }
}

struct Received(Sender);

impl HttpBody for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut sent = self.0.0.lock().unwrap();
        if !sent.frames.is_empty() {
            let frame = sent.frames.remove(0);
            if let (Some(length), Some(data)) = (&mut sent.length, frame.data_ref()) {
                *length -= data.len() as u64;
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        if sent.ended {
            return Poll::Ready(None);
        }
        sent.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        self.0.0.lock().unwrap().length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

fn post(body: Body) -> HttpHost {
    HttpHost::new(Request::post("/").body(body).unwrap(), None)
}

/// A body that has arrived, in pieces of 16 KiB.
fn whole(len: usize) -> Body {
    let pieces: Vec<Bytes> = pattern(len).chunks(16 * KIB).map(Bytes::copy_from_slice).collect();
    let frames = pieces.into_iter().map(|piece| Ok::<_, BoxError>(Frame::data(piece)));
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

fn collect(body: Body) -> Bytes {
    block_on(body.collect()).unwrap().to_bytes()
}

/// Runs a request through both phases, with a next handler that reads the request body and answers with `response`.
fn run(
    probe: &Probe<HttpHost>,
    request: Body,
    response: Body,
) -> Result<Response<Body>, http_wasm_host::Error> {
    match probe.outcome(post(request))? {
        Outcome::Respond(host) => Ok(host.into_response()),
        Outcome::Next(mut pinned) => {
            collect(pinned.host_mut().take_request(true).into_body());
            pinned.host_mut().set_response(Response::new(response));
            let Handled { host, .. } = block_on(pinned.handle_response())?;
            Ok(host.into_response())
        }
        Outcome::Bypassed { mut host, .. } => {
            collect(host.take_request(false).into_body());
            Ok(Response::new(response))
        }
        Outcome::Streams(_) => panic!("no guest streams here"),
    }
}

#[test]
fn a_buffered_body_counts_until_the_next_handler_has_each_piece() {
    let engine = engine(MIB);
    let probe = load(&engine, reads_request());
    let mut pinned = probe.next(post(whole(100 * KIB)));
    assert_eq!(held(&engine), 100 * KIB);
    let mut body = pinned.host_mut().take_request(true).into_body();
    let mut left = 100 * KIB;
    while let Some(frame) = block_on(body.frame()) {
        left -= frame.unwrap().into_data().unwrap().len();
        assert_eq!(held(&engine), left);
    }
    assert_eq!(held(&engine), 0);
    pinned.host_mut().set_response(Response::new(Body::empty()));
    block_on(pinned.handle_response()).unwrap();
    assert_eq!(held(&engine), 0);
}

#[test]
fn a_declared_length_is_reserved_up_front_up_to_the_replay_limit() {
    let engine = engine(MIB);
    for (limit, reserved) in [(16 * MIB, 300 * KIB), (200 * KIB, 200 * KIB)] {
        let wat = reads_request().limits(Limits { replay_bytes: limit, ..Limits::default() });
        let probe = load(&engine, wat);
        let sender = Sender::announcing(300 * KIB);
        let mut call = ByHand::new(probe.0.handle_request(sender.post()));
        call.waits();
        assert_eq!(held(&engine), reserved);
        sender.send(100 * KIB);
        call.waits();
        assert_eq!(held(&engine), reserved);
        drop(call);
        assert_eq!(held(&engine), 0);
    }
}

#[test]
fn without_a_declared_length_received_bytes_are_reserved_in_steps() {
    let engine = engine(MIB);
    let probe = load(&engine, reads_request());
    let sender = Sender::default();
    let mut call = ByHand::new(probe.0.handle_request(sender.post()));
    call.waits();
    assert_eq!(held(&engine), 0);
    for _ in 0..10 {
        sender.send(20 * KIB);
        call.waits();
    }
    assert!((200 * KIB..=264 * KIB).contains(&held(&engine)), "{}", held(&engine));
    sender.end();
    let Ok(Outcome::Next(pinned)) = call.ends() else { panic!("it proceeds") };
    assert_eq!(held(&engine), 200 * KIB);
    drop(pinned);
    eventually("the clean-up call is over", || held(&engine) == 0);
}

#[test]
fn a_guest_without_buffering_reserves_no_body_memory() {
    let engine = engine(1);
    let probe = load(&engine, proceeds("(call $read_all 0 LIMIT)"));
    let (_other, sender) = (probe.next(post(Body::empty())), Sender::announcing(100 * KIB));
    let mut call = ByHand::new(probe.0.handle_request(sender.post()));
    call.waits();
    sender.send(50 * KIB);
    call.waits();
    assert_eq!(held(&engine), 0);
}

#[test]
fn at_the_limit_the_youngest_request_is_refused_with_retry_after() {
    let engine = engine(MIB);
    let probe = load(&engine, reads_request());
    let older = Sender::announcing(600 * KIB);
    let mut call = ByHand::new(probe.0.handle_request(older.post()));
    call.waits();
    let error = probe.outcome(Sender::announcing(600 * KIB).post()).unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::BodyMemory, Some(Duration::from_secs(1))));
    assert_eq!(error.function(), Some("read_body"));
    assert_eq!((held(&engine), engine.body_budget().memory().refused), (600 * KIB, 1));
    // Requests that don't hold a body are still served.
    let response = run(&probe, Body::empty(), Body::empty()).unwrap();
    assert_eq!(response.status(), 200);
    older.send(600 * KIB);
    older.end();
    assert!(matches!(call.ends(), Ok(Outcome::Next(_))));
}

#[test]
fn the_oldest_request_continues_and_the_youngest_is_woken_and_evicted() {
    let engine = engine(MIB);
    let probe = load(&engine, reads_request());
    let (oldest, youngest) = (Sender::default(), Sender::default());
    let mut calls = [&oldest, &youngest].map(|sender| ByHand::new(probe.0.handle_request(sender.post())));
    for (sender, call) in [&oldest, &youngest].into_iter().zip(&mut calls) {
        sender.send(400 * KIB);
        call.waits();
    }
    let [mut first, mut second] = calls;
    let woken = second.wakes();
    oldest.send(400 * KIB);
    first.waits();
    assert!(second.wakes() > woken, "it has to be woken");
    assert_eq!(second.ends().unwrap_err().kind(), ErrorKind::BodyMemory);
    let memory = engine.body_budget().memory();
    assert_eq!((memory.held, memory.evicted, memory.refused), (held(&engine), 1, 0));
    assert!((800 * KIB..=864 * KIB).contains(&memory.held), "{}", memory.held);
    // However large its body is.
    oldest.send(MIB);
    oldest.end();
    let Ok(Outcome::Next(mut pinned)) = first.ends() else { panic!("it proceeds") };
    assert_eq!(collect(pinned.host_mut().take_request(true).into_body()).len(), 800 * KIB + MIB);
    assert_eq!(held(&engine), 0);
}

#[test]
fn an_evicted_request_fails_at_its_next_call_and_so_does_its_outgoing_body() {
    let engine = engine(MIB);
    let probe = load(&engine, reads_request());
    let oldest = Sender::default();
    let mut first = ByHand::new(probe.0.handle_request(oldest.post()));
    oldest.send(400 * KIB);
    first.waits();
    let mut second = probe.next(post(whole(400 * KIB)));
    let mut body = second.host_mut().take_request(true).into_body();
    assert!(block_on(body.frame()).unwrap().is_ok());
    oldest.send(400 * KIB);
    first.waits();
    assert!(held(&engine) <= 864 * KIB, "what nobody polls is given back at once");
    let error = block_on(body.frame()).unwrap().unwrap_err();
    assert!(error.is::<NoBodyMemory>(), "{error}");
    drop((body, first));
    second.host_mut().set_response(Response::new(Body::empty()));
    assert_eq!(block_on(second.handle_response()).unwrap_err().kind(), ErrorKind::BodyMemory);
    assert_eq!(held(&engine), 0);
}

#[test]
fn the_guests_of_a_chain_hold_a_body_once() {
    let engine = engine(150 * KIB);
    let probe = load(&engine, reads_request());
    let mut outer = probe.next(post(whole(100 * KIB)));
    let request = outer.host_mut().take_request(true);
    let mut inner = probe.next(HttpHost::new(request, None));
    assert_eq!(held(&engine), 100 * KIB);
    assert_eq!(collect(inner.host_mut().take_request(true).into_body()).len(), 100 * KIB);
    assert_eq!(held(&engine), 0);
}

#[test]
fn body_memory_is_released_however_an_exchange_ends() {
    const LARGE_WRITE: &str = "(call $write_body 1 BUF 40000)";
    let limits = Limits { deadline: Duration::from_millis(20), replay_bytes: 200 * KIB, ..Limits::default() };
    let read = |kind: u8| format!("(call $read_all {kind} LIMIT)");
    let both = BUFFER_REQUEST | BUFFER_RESPONSE;
    let (read_request, read_response) = (read(0), read(1));
    let after_reading = |end: &str| format!("{read_request} {end}");
    let engine = engine(10 * MIB);
    for (name, wat) in [
        ("both bodies are read", proceeds(&read_request).on_response(&read_response)),
        ("the guest answers", stops(&after_reading(LARGE_WRITE))),
        (
            "the guest writes before and after",
            proceeds(LARGE_WRITE).on_response(&after_reading(LARGE_WRITE).replace("all 0", "all 1")),
        ),
        ("a body is replaced", proceeds(&after_reading("(call $write_body 0 BUF 9)"))),
        ("a body is replaced by a long one", proceeds(&after_reading("(call $write_body 0 BUF 80000)"))),
        ("a response is replaced", guest().on_response(&format!("{read_response} {LARGE_WRITE}"))),
        ("trap", proceeds(&after_reading("unreachable"))),
        ("trap after writing", proceeds(&after_reading(&format!("{LARGE_WRITE} unreachable")))),
        ("trap in the response", guest().on_response(&format!("{read_response} {LARGE_WRITE} unreachable"))),
        ("deadline", proceeds(&after_reading("(loop $l (br $l))"))),
        ("deadline in the response", guest().on_response(&format!("{read_response} (loop $l (br $l))"))),
        (
            "trailers are waited for",
            proceeds("(drop (call $get_header_names 2 BUF LIMIT))")
                .on_response("(drop (call $get_header_names 3 BUF LIMIT))"),
        ),
        ("part of a body is read", proceeds("(call $read 0 1000)").on_response("(call $read 1 1000)")),
    ] {
        for fails_open in [false, true] {
            let wat = wat.clone().features(both).limits(limits.clone());
            let wat = if fails_open { wat.fails_open() } else { wat };
            let probe = load(&engine, wat);
            for len in [100 * KIB, 300 * KIB] {
                if let Ok(response) = run(&probe, whole(len), whole(len)) {
                    collect(response.into_body());
                }
                assert_eq!(held(&engine), 0, "{name}, {len}, fails open: {fails_open}");
                // The next handler never answers, and drops its request unread.
                if let Ok(outcome) = probe.outcome(post(whole(len))) {
                    drop(outcome);
                }
                eventually("the clean-up call is over", || held(&engine) == 0);
                // The response is dropped unread.
                drop(run(&probe, whole(len), whole(len)));
                assert_eq!(held(&engine), 0, "{name}, {len}, fails open: {fails_open}, unread");
                // The client disconnects halfway.
                let sender = Sender::announcing(len);
                let mut call = ByHand::new(probe.0.handle_request(sender.post()));
                sender.send(50 * KIB);
                let _ = call.poll();
                drop(call);
                eventually("the clean-up call is over", || held(&engine) == 0);
            }
        }
    }
}

#[test]
fn a_body_with_trailers_is_held_and_delivered_completely() {
    let engine = engine(MIB);
    let probe =
        load(&engine, proceeds("(drop (call $get_header_names 2 BUF LIMIT))").features(BUFFER_REQUEST));
    let sender = Sender::default();
    let mut call = ByHand::new(probe.0.handle_request(sender.post()));
    sender.send(100 * KIB);
    call.waits();
    assert!(held(&engine) >= 100 * KIB);
    sender.frame(Frame::trailers(HeaderMap::from_iter([("t".parse().unwrap(), "1".parse().unwrap())])));
    let Ok(Outcome::Next(mut pinned)) = call.ends() else { panic!("it proceeds") };
    assert_eq!(held(&engine), 100 * KIB);
    assert_eq!(collect(pinned.host_mut().take_request(true).into_body()).len(), 100 * KIB);
    assert_eq!(held(&engine), 0);
}

#[test]
fn a_guest_that_fails_open_is_bypassed_without_body_memory_and_its_copy_evicted() {
    let engine = engine(MIB);
    let probe = load(&engine, reads_request());
    let older = Sender::announcing(800 * KIB);
    let mut call = ByHand::new(probe.0.handle_request(older.post()));
    call.waits();

    let open = load(&engine, reads_request().fails_open());
    let sender = Sender::announcing(300 * KIB);
    let Ok(Outcome::Bypassed { mut host, error }) = open.outcome(sender.post()) else {
        panic!("the guest is left out")
    };
    assert_eq!(error.kind(), ErrorKind::BodyMemory);
    sender.send(300 * KIB);
    sender.end();
    assert_eq!(collect(host.take_request(false).into_body()), pattern(300 * KIB));

    let streams = load(&engine, proceeds("(call $read_all 0 LIMIT)").fails_open());
    let sender = Sender::announcing(300 * KIB);
    let mut reading = ByHand::new(streams.0.handle_request(sender.post()));
    reading.waits();
    sender.send(300 * KIB);
    sender.end();
    match reading.ends() {
        Ok(Outcome::Next(_)) => {}
        Ok(Outcome::Bypassed { error, .. }) | Err(error) => panic!("{error}"),
        Ok(_) => panic!("it proceeds"),
    }
    assert_eq!(held(&engine), 800 * KIB);
}
