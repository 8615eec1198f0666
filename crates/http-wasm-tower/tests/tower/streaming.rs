//! Bodies that a guest doesn't read are streamed, in constant memory and with back-pressure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_wasm_tower::{Body, Guest};
use tower::service_fn;

use crate::guests::*;
use crate::support::*;

const CHUNK: usize = 64 * 1024;
const GIB: u64 = 1024 * 1024 * 1024;

/// A body of this many bytes in chunks, and a counter of the bytes produced.
fn produced(bytes: u64) -> (Body, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    let chunk = Bytes::from(vec![b'x'; CHUNK]);
    let chunks = (0..bytes / CHUNK as u64).map(move |_| {
        counter.fetch_add(CHUNK as u64, Ordering::Relaxed);
        Ok(chunk.clone())
    });
    (streamed(stream::iter(chunks)), count)
}

/// Sets a response header with every feature enabled, without reading anything.
fn decorator() -> Guest {
    around(
        BUFFER_REQUEST | BUFFER_RESPONSE | TRAILERS,
        "(call $set_header_value (i32.const 0) {x-guest} {was here})",
        "(call $set_header_value (i32.const 1) {x-guest} {was here})",
    )
}

/// A service that answers with this body, once.
fn answer_with(
    body: Body,
) -> impl tower::Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    service_fn(move |_: Request<Body>| {
        let body = body.lock().unwrap().take().expect("called once");
        async { Ok(Response::new(body)) }
    })
}

#[tokio::test]
async fn a_gibibyte_passes_a_guest_that_reads_none_of_it_one_chunk_at_a_time() {
    let (body, count) = produced(GIB);
    let response = call(&decorator(), answer_with(body), get("/")).await;
    assert_eq!(header(&response, "x-guest"), "was here");
    let mut body = response.into_body();
    let mut consumed = 0;
    while let Some(frame) = body.frame().await {
        consumed += frame.unwrap().into_data().unwrap().len() as u64;
        assert!(count.load(Ordering::Relaxed) - consumed <= CHUNK as u64, "the producer ran ahead");
    }
    assert_eq!(consumed, GIB);
}

#[tokio::test]
async fn a_gibibyte_passes_a_guest_that_reads_its_beginning_one_chunk_at_a_time() {
    let (body, count) = produced(GIB);
    let guest = around(
        BUFFER_RESPONSE,
        "",
        "(drop (call $read_body (i32.const 1) (global.get $buf) (i32.const 100000)))",
    );
    let mut body = call(&guest, answer_with(body), get("/")).await.into_body();
    let mut consumed = 0;
    while let Some(frame) = body.frame().await {
        consumed += frame.unwrap().into_data().unwrap().len() as u64;
        // The two chunks that the guest has read from, and one to find out whether there are more.
        assert!(count.load(Ordering::Relaxed) - consumed <= 3 * CHUNK as u64, "the producer ran ahead");
    }
    assert_eq!(consumed, GIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_byte_of_a_long_response_arrives_before_its_last_was_produced() {
    const LEN: u64 = GIB / 4;
    let guest = decorator();
    for http2 in [false, true] {
        let (body, count) = produced(LEN);
        let addr = serve_guest(&guest, answer_with(body)).await;
        let mut client = if http2 { Client::http2(addr).await } else { Client::http1(addr).await };
        let response = client.send(get("/")).await;
        let mut body = response.into_body();
        let mut consumed = body.frame().await.unwrap().unwrap().into_data().unwrap().len() as u64;
        assert!(count.load(Ordering::Relaxed) < LEN / 2);
        while let Some(frame) = body.frame().await {
            consumed += frame.unwrap().into_data().unwrap().len() as u64;
            // The size of two socket buffers.
            assert!(count.load(Ordering::Relaxed) - consumed < 32 * 1024 * 1024, "the producer ran ahead");
        }
        assert_eq!(consumed, LEN);
        idle(&guest, 1).await;
    }
}

#[tokio::test]
async fn a_response_that_the_client_does_not_read_is_not_produced() {
    let (body, count) = produced(GIB);
    let addr = serve_guest(&decorator(), answer_with(body)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    raw.read_until("\r\n\r\n").await;
    let mut before = 0;
    // Until the sockets are full.
    soon(async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = count.load(Ordering::Relaxed);
            if now == std::mem::replace(&mut before, now) {
                break;
            }
        }
    })
    .await;
    assert!(before < 64 * 1024 * 1024, "{before} bytes were produced for nobody");
}

#[tokio::test]
async fn each_server_sent_event_arrives_when_it_is_sent() {
    let guest = decorator();
    for http2 in [false, true] {
        let (feed, body) = fed();
        let addr = serve_guest(&guest, answer_with(body)).await;
        let mut client = if http2 { Client::http2(addr).await } else { Client::http1(addr).await };
        let response = client.send(get("/")).await;
        assert_eq!(header(&response, "x-guest"), "was here");
        // The head has arrived but no event was sent yet: the instance is free during the entire stream.
        idle(&guest, 1).await;
        let mut body = response.into_body();
        for event in 0..5 {
            let event = format!("data: {event}\n\n");
            feed.send(Ok(event.clone().into())).unwrap();
            let frame = soon(body.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), event);
        }
        drop(feed);
        assert!(collect(body).await.is_empty());
        assert_eq!(guest.stats().created, 1);
    }
}

#[tokio::test]
async fn each_piece_of_an_upload_reaches_the_next_handler_when_it_is_sent() {
    let guest = decorator();
    let addr = serve_guest(&guest, service_fn(mirror)).await;
    for mut client in Client::both(addr).await {
        let (feed, body) = fed();
        let response = client.send(Request::post("/").body(body).unwrap()).await;
        let mut body = response.into_body();
        for piece in 0..5 {
            let piece = format!("piece {piece}");
            feed.send(Ok(piece.clone().into())).unwrap();
            let frame = soon(body.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece);
        }
        drop(feed);
        assert!(collect(body).await.is_empty());
    }
}

#[tokio::test]
async fn an_upload_waits_for_the_next_handler_to_read_it() {
    const LEN: u64 = GIB / 4;
    let read = Arc::new(tokio::sync::Notify::new());
    let inner = service_fn({
        let read = read.clone();
        move |request: Request<Body>| {
            let read = read.clone();
            async move {
                assert_eq!(request.headers()["x-guest"], "was here");
                read.notified().await;
                let mut body = request.into_body();
                let mut len = 0;
                while let Some(frame) = body.frame().await {
                    len += frame.unwrap().into_data().unwrap().len() as u64;
                }
                Ok(Response::new(len.to_string().into_body()))
            }
        }
    });
    let addr = serve_guest(&decorator(), inner).await;
    for mut client in Client::both(addr).await {
        let (body, count) = produced(LEN);
        let response = tokio::spawn(async move { client.send(Request::post("/").body(body).unwrap()).await });
        let mut before = u64::MAX;
        soon(async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let now = count.load(Ordering::Relaxed);
                if now == std::mem::replace(&mut before, now) {
                    break;
                }
            }
        })
        .await;
        assert!(before < 64 * 1024 * 1024, "{before} bytes were sent to nobody");
        read.notify_one();
        assert_eq!(text(response.await.unwrap().into_body()).await, LEN.to_string());
    }
}

#[tokio::test]
async fn a_guest_waits_only_for_what_it_reads() {
    let guest = around(
        BUFFER_REQUEST,
        "(call $set_header_value (i32.const 1) {x-read}
            (global.get $buf) (i32.wrap_i64 (call $read_body (i32.const 0) (global.get $buf) (i32.const 4))))",
        "",
    );
    let addr = serve_guest(&guest, service_fn(mirror)).await;
    let mut raw = Raw::connect(addr).await;
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n").await;
    for byte in ["0", "1", "2"] {
        raw.send(byte).await;
        reaches(&guest, "its one instance in use", |stats| stats.idle == 0).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!((guest.stats().live, guest.stats().idle), (1, 0), "the guest waits for its four bytes");
    }
    raw.send("3").await;
    // The response arrives before the rest of the request was sent.
    let head = raw.read_until("0123").await;
    assert!(head.contains("x-read: 0123\r\n"), "{head}");
    idle(&guest, 1).await;
    raw.send("456789").await;
    raw.read_until("456789").await;
}
