//! Guests that write responses while these are sent.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_wasm_tower::{
    Body, BoxError, Chain, Engine, Error, Guest, GuestObserver, ResponseStream, Stream, StreamEnd,
};

use crate::guests::*;
use crate::support::*;

/// Writes what it reads, with a mark after each read.
fn marks(mark: &str) -> String {
    format!(
        r#"(@custom "http-wasm-stream" "")
        (func (export "handle_response") (param i32 i32) (local $read i64)
          (loop $next
            (local.set $read (call $read_body (i32.const 1) (global.get $buf) (i32.const 65536)))
            (if (i32.wrap_i64 (local.get $read)) (then
              (call $write_body (i32.const 1) (global.get $buf) (i32.wrap_i64 (local.get $read)))
              (call $write_body (i32.const 1) {{{mark}}})))
            (br_if $next (i64.eqz (i64.shr_u (local.get $read) (i64.const 32))))))"#
    )
}

fn streams(text: &str) -> Guest {
    guest_with(|builder| builder.stream(Stream::Response), BUFFER_RESPONSE, text)
}

/// A handler that answers once with this body.
fn once(body: Body) -> impl Fn(Request<Body>) -> std::future::Ready<Result<Response<Body>, Infallible>> {
    let body = Mutex::new(Some(body));
    move |_| std::future::ready(Ok(Response::new(body.lock().unwrap().take().unwrap_or_default())))
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

#[tokio::test]
async fn each_piece_passes_through_all_guests_at_once() {
    let guests = [streams(&marks("-")), guest(NO_FEATURES, ""), streams(&marks("+"))];
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("one"))).unwrap();
    let response = soon(Chain::new(guests.clone()).call(get("/"), once(body))).await.unwrap();
    let mut body = response.into_body();
    // Each write of the inner guest is a read of the outer one.
    assert_eq!(next(&mut body, 6).await, "one-+-");
    feed.send(Ok(Bytes::from("two"))).unwrap();
    assert_eq!(next(&mut body, 6).await, "two-+-");
    assert_eq!(guests.each_ref().map(|guest| guest.stats().streaming), [1, 0, 1]);
    drop(feed);
    assert!(soon(body.frame()).await.is_none());
    assert_eq!(guests.map(|guest| (guest.stats().streaming, guest.stats().idle)), [(0, 1), (0, 1), (0, 1)]);
}

#[tokio::test]
async fn a_client_that_hangs_up_costs_no_instance() {
    let guest = streams(&marks("!"));
    for _ in 0..3 {
        let (feed, body) = fed();
        feed.send(Ok(Bytes::from("one"))).unwrap();
        let response = soon(Chain::new([guest.clone()]).call(get("/"), once(body))).await.unwrap();
        let mut body = response.into_body();
        assert_eq!(next(&mut body, 4).await, "one!");
        drop(body);
        // While the guest waits for more to read, and below, while it waits for the reader.
        idle(&guest, 1).await;
        assert!(feed.is_closed());
        let (feed, body) = fed();
        feed.send(Ok(Bytes::from("one"))).unwrap();
        drop(soon(Chain::new([guest.clone()]).call(get("/"), once(body))).await.unwrap());
        idle(&guest, 1).await;
    }
    let stats = guest.stats();
    assert_eq!((stats.created, stats.dropped_cancelled, stats.streaming), (1, 0, 0), "{stats:?}");
}

#[tokio::test]
async fn a_guest_that_fails_breaks_the_response_off_though_it_fails_open() {
    let text = r#"(@custom "http-wasm-stream" "") (func (export "handle_response") (param i32 i32)
        (call $write_body (i32.const 1) {begun}) unreachable)"#;
    let open = |builder: http_wasm_tower::GuestBuilder| {
        builder.stream(Stream::Response).on_failure(http_wasm_tower::OnFailure::Open)
    };
    let guest = guest_with(open, BUFFER_RESPONSE, text);
    let response = call(&guest, tower::service_fn(hello), get("/")).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    assert_eq!(next(&mut body, 5).await, "begun");
    let error = soon(body.frame()).await.unwrap().unwrap_err();
    assert!(error.downcast_ref::<Error>().is_some(), "{error}");
    assert_eq!(guest.stats().dropped_failed, 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_breaks_the_response_off() {
    let guest = streams(&marks("!"));
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("one"))).unwrap();
    let response = soon(Chain::new([guest.clone()]).call(get("/"), once(body))).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(next(&mut body, 4).await, "one!");
    feed.send(Err("the upstream is gone".into())).unwrap();
    let error = soon(body.frame()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("the upstream is gone"), "{error}");
    assert_eq!(guest.stats().dropped_cancelled, 1);
}

#[tokio::test]
async fn a_gigabyte_passes_with_a_budget_of_4_mib_for_bodies() {
    const PIECES: usize = 16 * 1024;
    let engine = Engine::builder().body_memory_budget(4 << 20).build().unwrap();
    let module = module(BUFFER_RESPONSE, &marks("!"));
    let load = || Guest::builder(&engine).stream(Stream::Response).load(module.as_bytes()).unwrap();
    let guest = std::thread::scope(|threads| threads.spawn(load).join().unwrap());
    let piece = noise(65_536);
    let body = streamed(stream::iter(std::iter::repeat_n(piece, PIECES).map(Ok::<_, BoxError>)));
    let response = soon(Chain::new([guest]).call(get("/"), once(body))).await.unwrap();
    let (mut body, mut received, mut most) = (response.into_body(), 0, 0);
    while let Some(frame) = soon(body.frame()).await {
        received += frame.unwrap().data_ref().map_or(0, Bytes::len);
        most = most.max(engine.body_budget().memory().held);
    }
    assert!(received > PIECES * 65_536, "{received}");
    assert!((1..=128 * 1024).contains(&most), "{most}");
    assert_eq!(engine.body_budget().memory().held, 0);
}

/// An observer that records how a guest's call ends.
struct Notes(Arc<Mutex<Vec<&'static str>>>);

impl GuestObserver for Notes {
    fn finished(self, _: Option<&Error>) {
        self.0.lock().unwrap().push("finished");
    }

    fn streams(self, stream: ResponseStream) {
        self.0.lock().unwrap().push("streams");
        let notes = self.0;
        stream.on_end(move |end| {
            notes.lock().unwrap().push(match end {
                StreamEnd::Finished => "ended",
                StreamEnd::Failed(_) => "failed",
                _ => "abandoned",
            });
        });
    }
}

#[tokio::test]
async fn an_observer_learns_how_a_stream_ends() {
    let guest = streams(&marks("!"));
    for (hangs_up, end) in [(false, "ended"), (true, "abandoned")] {
        let notes = Arc::default();
        let observer = |_| Notes(Arc::clone(&notes));
        let (feed, body) = fed();
        feed.send(Ok(Bytes::from("one"))).unwrap();
        let call = Chain::new([guest.clone()]).call_observed(get("/"), None, observer, once(body));
        let mut body = soon(call).await.unwrap().into_body();
        assert_eq!(*notes.lock().unwrap(), ["streams"]);
        assert_eq!(next(&mut body, 4).await, "one!");
        if !hangs_up {
            drop(feed);
            assert!(soon(body.frame()).await.is_none());
        }
        drop(body);
        assert_eq!(*notes.lock().unwrap(), ["streams", end]);
    }
}
