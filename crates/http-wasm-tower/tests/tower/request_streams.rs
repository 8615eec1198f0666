//! Guests that rewrite requests while they are sent.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_wasm_tower::{
    AbandonedCall, Body, BoxError, Chain, Engine, Error, Guest, GuestObserver, Limits, OnFailure, Stream,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::guests::*;
use crate::support::*;

/// Writes what it reads of the request, with a mark after each read, and then does this.
fn marks_and(mark: &str, then: &str) -> String {
    format!(
        r#"(@custom "http-wasm-stream" "")
        (func (export "handle_request") (result i64) (local $read i64)
          (loop $next
            (local.set $read (call $read_body (i32.const 0) (global.get $buf) (i32.const 65536)))
            (if (i32.wrap_i64 (local.get $read)) (then
              (call $write_body (i32.const 0) (global.get $buf) (i32.wrap_i64 (local.get $read)))
              (call $write_body (i32.const 0) {{{mark}}})))
            (br_if $next (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))))
          {then})"#
    )
}

fn marks(mark: &str) -> String {
    marks_and(mark, "(i64.const 1)")
}

/// The same for responses.
fn marks_both(mark: &str) -> String {
    let response = marks(mark)
        .replace("handle_request", "handle_response")
        .replace("(result i64) (local $read", "(param i32 i32) (local $read")
        .replace("_body (i32.const 0)", "_body (i32.const 1)")
        .replace("(i64.const 1))", ")")
        .replace(r#"(@custom "http-wasm-stream" "")"#, "");
    marks(mark) + &response
}

fn streams_as(stream: Stream, features: u32, text: &str) -> Guest {
    guest_with(|builder| builder.stream(stream), features, text)
}

fn streams(text: &str) -> Guest {
    streams_as(Stream::Request, NO_FEATURES, text)
}

/// The requests that a handler has passed to the test, each with a channel for the response.
type Requests = mpsc::UnboundedReceiver<Played>;

type Played = (Request<Body>, oneshot::Sender<Response<Body>>);

type Called = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn played() -> (impl Fn(Request<Body>) -> Called, Requests) {
    let (sender, requests) = mpsc::unbounded_channel();
    let handler = move |request| -> Called {
        let (respond, response) = oneshot::channel();
        sender.send((request, respond)).unwrap();
        Box::pin(async { Ok(response.await.unwrap_or_else(|_| Response::new("dropped".into_body()))) })
    };
    (handler, requests)
}

fn upload(body: Body) -> Request<Body> {
    Request::post("/").body(body).unwrap()
}

/// The next `len` bytes of a body.
async fn next(body: &mut Body, len: usize) -> String {
    let mut text = String::new();
    while text.len() < len {
        let frame = soon(body.frame()).await.expect("there is more").expect("it goes on");
        text += std::str::from_utf8(frame.data_ref().expect("no trailers yet")).unwrap();
    }
    text
}

/// Calls the chain in a task.
fn spawn(guests: &[Guest], body: Body) -> (tokio::task::JoinHandle<Response<Body>>, Requests) {
    let (handler, requests) = played();
    let call = Chain::new(guests.iter().cloned()).call(upload(body), handler);
    (tokio::spawn(async { call.await.unwrap() }), requests)
}

#[tokio::test]
async fn each_piece_passes_through_all_guests_at_once() {
    let guests = [streams(&marks("-")), guest(NO_FEATURES, ""), streams(&marks("+"))];
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("one"))).unwrap();
    let (response, mut requests) = spawn(&guests, body);
    let (request, respond) = soon(requests.recv()).await.unwrap();
    let mut body = request.into_body();
    // Each write of the outer guest is a read of the inner one.
    assert_eq!(next(&mut body, 6).await, "one+-+");
    feed.send(Ok(Bytes::from("two"))).unwrap();
    assert_eq!(next(&mut body, 6).await, "two+-+");
    assert_eq!(guests.each_ref().map(|guest| guest.stats().streaming), [1, 0, 1]);
    drop(feed);
    assert!(soon(body.frame()).await.is_none());
    respond.send(Response::new("done".into_body())).unwrap();
    assert_eq!(text(soon(response).await.unwrap().into_body()).await, "done");
    assert_eq!(guests.map(|guest| (guest.stats().streaming, guest.stats().idle)), [(0, 1), (0, 1), (0, 1)]);
}

#[tokio::test]
async fn a_guest_behind_one_that_streams_reads_the_stream_as_its_request() {
    let reads = phases(&read_all(0), "");
    let (feed, body) = fed();
    let (response, mut requests) = spawn(&[streams(&marks("!")), guest(BUFFER_REQUEST, &reads)], body);
    for piece in ["one", "two"] {
        feed.send(Ok(Bytes::from(piece))).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), requests.recv()).await.is_err());
    }
    drop(feed);
    let (request, respond) = soon(requests.recv()).await.unwrap();
    assert_eq!(text(request.into_body()).await, "one!two!");
    respond.send(Response::new("done".into_body())).unwrap();
    assert_eq!(text(soon(response).await.unwrap().into_body()).await, "done");
}

#[tokio::test]
async fn a_guest_behind_one_that_streams_can_answer_without_reading() {
    let answers = r#"(func (export "handle_request") (result i64)
        (call $write_body (i32.const 1) {no}) (i64.const 0))"#;
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("one"))).unwrap();
    let outer = streams(&marks("!"));
    let (response, _requests) = spawn(&[outer.clone(), guest(NO_FEATURES, answers)], body);
    // Its reads end, although the client would send more.
    assert_eq!(text(soon(response).await.unwrap().into_body()).await, "no");
    assert!(feed.is_closed());
    assert_eq!((outer.stats().idle, outer.stats().streaming), (1, 0));
}

#[tokio::test]
async fn a_guest_that_responds_itself_breaks_off_what_it_has_sent() {
    let text_of_guest = marks_and("!", r#"(call $write_body (i32.const 1) {mine}) (i64.const 0)"#);
    let (first, inner) = (guest(NO_FEATURES, ""), streams(&marks("+")));
    let stops = streams(&text_of_guest);
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("one"))).unwrap();
    let (response, mut requests) = spawn(&[first.clone(), stops.clone(), inner.clone()], body);
    let (request, respond) = soon(requests.recv()).await.unwrap();
    let mut body = request.into_body();
    assert_eq!(next(&mut body, 6).await, "one+!+");
    drop(feed);
    assert_eq!(text(soon(response).await.unwrap().into_body()).await, "mine");
    assert!(soon(body.frame()).await.unwrap().is_err(), "it isn't whole");
    assert!(respond.is_closed(), "the next handler was dropped");
    for guest in [first, stops, inner] {
        idle(&guest, 1).await;
        assert_eq!(guest.stats().created, 1);
    }
}

#[tokio::test]
async fn a_guest_that_fails_breaks_off_what_it_has_sent_though_it_fails_open() {
    let fails = guest_with(
        |builder| builder.stream(Stream::Request).on_failure(OnFailure::Open),
        NO_FEATURES,
        &marks_and("!", "unreachable"),
    );
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("one"))).unwrap();
    let (response, mut requests) = spawn(std::slice::from_ref(&fails), body);
    let (request, _respond) = soon(requests.recv()).await.unwrap();
    let mut body = request.into_body();
    assert_eq!(next(&mut body, 4).await, "one!");
    drop(feed);
    assert!(soon(body.frame()).await.unwrap().is_err(), "it isn't whole");
    assert_eq!(soon(response).await.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(fails.stats().dropped_failed, 1);
}

#[tokio::test]
async fn an_answer_waits_until_the_guest_has_written_the_request() {
    let streams = streams_as(Stream::Both, BUFFER_RESPONSE, &marks_both("!"));
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("one"))).unwrap();
    let (response, mut requests) = spawn(&[streams], body);
    let (request, respond) = soon(requests.recv()).await.unwrap();
    let mut body = request.into_body();
    let (answer, answered) = fed();
    respond.send(Response::new(answered)).unwrap();
    answer.send(Ok(Bytes::from("answer"))).unwrap();
    assert_eq!(next(&mut body, 4).await, "one!");
    feed.send(Ok(Bytes::from("two"))).unwrap();
    assert_eq!(next(&mut body, 4).await, "two!");
    assert!(!response.is_finished());
    drop(feed);
    assert!(soon(body.frame()).await.is_none());
    let mut response = soon(response).await.unwrap().into_body();
    assert_eq!(next(&mut response, 7).await, "answer!");
    drop(answer);
    assert!(soon(response.frame()).await.is_none());
}

#[tokio::test]
async fn an_echo_that_waits_for_its_reader_ends_the_request() {
    // The echo sends the request back as it reads it, so that neither continues without the other.
    let guest = guest_with(
        |builder| {
            let limits = Limits { stream_stall: Duration::from_millis(100), ..Limits::default() };
            builder.stream(Stream::Both).limits(limits)
        },
        BUFFER_RESPONSE,
        &marks_both("!"),
    );
    let piece = noise(65_536);
    let body = streamed(stream::iter(std::iter::repeat_n(piece, 1024).map(Ok::<_, BoxError>)));
    let response = soon(Chain::new([guest.clone()]).call(upload(body), mirror)).await.unwrap();
    let error = crate::support::error(&response);
    assert!(error.to_string().contains("didn't read the rest"), "{error}");
    assert_eq!(guest.stats().streaming, 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_costs_no_instance() {
    let guests = [streams(&marks("-")), streams(&marks("+"))];
    for waits_for_reader in [false, true] {
        let (feed, body) = fed();
        feed.send(Ok(Bytes::from("one"))).unwrap();
        let (response, mut requests) = spawn(&guests, body);
        let (request, respond) = soon(requests.recv()).await.unwrap();
        let mut body = request.into_body();
        if !waits_for_reader {
            assert_eq!(next(&mut body, 6).await, "one+-+");
        }
        response.abort();
        for guest in &guests {
            idle(guest, 1).await;
        }
        assert!(feed.is_closed() && respond.is_closed());
        // It receives what was sent before, but no end.
        while let Some(Ok(frame)) = soon(body.frame()).await {
            assert!(frame.is_data());
        }
        let stats = guests.each_ref().map(|guest| guest.stats());
        assert!(stats.iter().all(|stats| (stats.created, stats.streaming) == (1, 0)), "{stats:?}");
    }
}

#[tokio::test]
async fn a_next_handler_that_fails_ends_the_exchange() {
    let guest = streams(&marks("!"));
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("one"))).unwrap();
    let fails = async |_: Request<Body>| Err::<Response<Body>, _>(std::io::Error::other("broken"));
    let error = soon(Chain::new([guest.clone()]).call(upload(body), fails)).await.unwrap_err();
    assert_eq!(error.to_string(), "broken");
    idle(&guest, 1).await;
    assert!(feed.is_closed());
}

#[tokio::test]
async fn trailers_pass() {
    let guest = guest_with(
        |builder| builder.stream(Stream::Request),
        TRAILERS,
        &marks_and("!", r#"(call $set_header_value (i32.const 2) {x-set} {2}) (i64.const 1)"#),
    );
    let mut request = upload(with_trailers("one", &[("x-kept", "1")]));
    request.headers_mut().insert("trailer", "x-kept".parse().unwrap());
    let response = soon(Chain::new([guest]).call(request, describe)).await.unwrap();
    let text = text(response.into_body()).await;
    assert!(text.contains("one!") && text.contains("x-kept: 1") && text.contains("x-set: 2"), "{text}");
}

#[tokio::test]
async fn a_gigabyte_passes_both_ways_with_a_budget_of_4_mib_for_bodies() {
    const PIECES: usize = 16 * 1024;
    let engine = Engine::builder().body_memory_budget(4 << 20).build().unwrap();
    let module = module(BUFFER_RESPONSE, &marks_both("!"));
    let load = || Guest::builder(&engine).stream(Stream::Both).load(module.as_bytes()).unwrap();
    let guest = std::thread::scope(|threads| threads.spawn(load).join().unwrap());
    let piece = noise(65_536);
    let pieces = || streamed(stream::iter(std::iter::repeat_n(noise(65_536), PIECES).map(Ok::<_, BoxError>)));
    let body = streamed(stream::iter(std::iter::repeat_n(piece, PIECES).map(Ok::<_, BoxError>)));
    let (budget, most) = (engine.body_budget().clone(), Arc::new(Mutex::new(0)));
    let seen = most.clone();
    let reads = async move |request: Request<Body>| {
        let (mut body, mut received) = (request.into_body(), 0);
        while let Some(frame) = body.frame().await {
            received += frame.unwrap().data_ref().map_or(0, Bytes::len);
            let mut most = seen.lock().unwrap();
            *most = budget.memory().held.max(*most);
        }
        assert!(received > PIECES * 65_536, "{received}");
        Ok::<_, Infallible>(Response::new(pieces()))
    };
    let response = tokio::time::timeout(TIMEOUT * 4, Chain::new([guest]).call(upload(body), reads))
        .await
        .unwrap()
        .unwrap();
    let (mut body, mut received) = (response.into_body(), 0);
    while let Some(frame) = soon(body.frame()).await {
        received += frame.unwrap().data_ref().map_or(0, Bytes::len);
        let mut most = most.lock().unwrap();
        *most = engine.body_budget().memory().held.max(*most);
    }
    assert!(received > PIECES * 65_536, "{received}");
    let most = *most.lock().unwrap();
    assert!((1..=128 * 1024).contains(&most), "{most}");
    assert_eq!(engine.body_budget().memory().held, 0);
}

/// Records how a guest's call ends.
struct Notes(Arc<Mutex<Vec<&'static str>>>);

impl GuestObserver for Notes {
    fn passed(&mut self) {
        self.0.lock().unwrap().push("passed");
    }

    fn finished(self, _: Option<&Error>) {
        self.0.lock().unwrap().push("finished");
    }

    fn abandoned(self, _: AbandonedCall) {
        self.0.lock().unwrap().push("abandoned");
    }
}

/// Sends a request with the body "one", which the test continues, through these guests. Returns what the observers of
/// the guests note, the rest of the body, the call, and what the handler gets.
async fn observed(
    guests: Vec<Guest>,
) -> (
    Arc<Mutex<Vec<&'static str>>>,
    mpsc::UnboundedSender<Result<Bytes, BoxError>>,
    JoinHandle<Response<Body>>,
    Played,
) {
    let notes = Arc::<Mutex<_>>::default();
    let seen = Arc::clone(&notes);
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("one"))).unwrap();
    let (handler, mut requests) = played();
    let observer = move |_| Notes(Arc::clone(&seen));
    let call = Chain::new(guests).call_observed(upload(body), None, observer, handler);
    let response = tokio::spawn(async { call.await.unwrap() });
    (notes, feed, response, soon(requests.recv()).await.unwrap())
}

#[tokio::test]
async fn an_observer_learns_when_the_guest_has_written_the_request() {
    let guest = streams(&marks("!"));
    for hangs_up in [false, true] {
        let (notes, feed, response, (request, respond)) = observed(vec![guest.clone()]).await;
        let mut body = request.into_body();
        assert_eq!(next(&mut body, 4).await, "one!");
        assert!(notes.lock().unwrap().is_empty());
        if hangs_up {
            response.abort();
            assert!(soon(response).await.is_err());
            assert_eq!(*notes.lock().unwrap(), ["abandoned"]);
            continue;
        }
        drop(feed);
        assert!(soon(body.frame()).await.is_none());
        respond.send(Response::new(Body::empty())).unwrap();
        soon(response).await.unwrap();
        assert_eq!(*notes.lock().unwrap(), ["passed", "finished"]);
    }
}

#[tokio::test]
async fn an_observer_learns_that_a_guest_in_front_has_responded() {
    let responds = marks_and("!", "(call $write_body (i32.const 1) {mine}) (i64.const 0)");
    let guests = vec![streams(&responds), streams(&marks("+"))];
    let (notes, feed, response, (request, _respond)) = observed(guests).await;
    let mut body = request.into_body();
    assert_eq!(next(&mut body, 6).await, "one+!+");
    drop(feed);
    soon(response).await.unwrap();
    assert_eq!(*notes.lock().unwrap(), ["abandoned", "finished"]);
}
