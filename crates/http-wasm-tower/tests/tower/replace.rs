//! A guest that is replaced while a service runs.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, Response};
use http_wasm_tower::{Body, Guest, GuestCell, HttpWasmLayer};
use tokio::sync::Notify;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::guests::*;
use crate::support::*;

/// Signs the request and the response with its name.
fn signer(name: &str) -> Guest {
    around(
        BUFFER_RESPONSE,
        &format!("(call $set_header_value (i32.const 0) {{x-request}} {{{name}}})"),
        &format!("(call $set_header_value (i32.const 1) {{x-response}} {{{name}}})"),
    )
}

/// Answers with the name in the request.
async fn signed(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert("x-request", request.headers()["x-request"].clone());
    Ok(response)
}

#[tokio::test]
async fn a_request_in_flight_finishes_on_the_old_guest_and_the_next_one_gets_the_new() {
    let (old, new) = (signer("old"), signer("new"));
    let cell = GuestCell::new(old.clone());
    let release = Arc::new(Notify::new());
    let notified = release.clone();
    let inner = service_fn(move |request: Request<Body>| {
        let release = notified.clone();
        async move {
            release.notified().await;
            signed(request).await
        }
    });
    let service = HttpWasmLayer::new(&cell).layer(inner);
    let mut in_flight = pin!(service.clone().oneshot(get("/")));
    assert!(is_pending(in_flight.as_mut()).await);

    assert_eq!(cell.replace(new).name(), old.name());
    let mut next = pin!(service.oneshot(get("/")));
    assert!(is_pending(next.as_mut()).await);
    release.notify_one();
    release.notify_one();
    let ended = async {
        release.notify_waiters();
        (in_flight.await.unwrap(), next.await.unwrap())
    };
    let (first, second) = soon(ended).await;
    for (response, name) in [(first, "old"), (second, "new")] {
        assert_eq!((header(&response, "x-request"), header(&response, "x-response")), (name, name));
    }
}

#[tokio::test]
async fn replacing_a_guest_again_and_again_fails_no_request_and_mixes_no_phases() {
    let guests = [signer("one"), signer("two")];
    let cell = GuestCell::new(guests[0].clone());
    let addr = serve(HttpWasmLayer::new(cell.clone()).layer(service_fn(signed))).await;
    let stopped = Arc::new(AtomicBool::new(false));
    let swapping = std::thread::spawn({
        let stopped = stopped.clone();
        move || {
            let mut swaps = 0;
            while !stopped.load(Ordering::Relaxed) {
                cell.replace(guests[swaps % 2].clone());
                swaps += 1;
                std::thread::yield_now();
            }
            swaps
        }
    });
    let mut client = Client::http2(addr).await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..500 {
        let response = client.send(get("/")).await;
        assert_eq!(response.status(), 200);
        let name = header(&response, "x-request").to_owned();
        assert_eq!(header(&response, "x-response"), name);
        seen.insert(name);
    }
    stopped.store(true, Ordering::Relaxed);
    assert!(swapping.join().unwrap() > 0);
    assert!(!seen.is_empty());
}

#[tokio::test]
async fn the_old_guest_is_dropped_once_its_requests_end() {
    let old = signer("old");
    let stats = old.clone();
    let cell = GuestCell::new(old);
    let service = HttpWasmLayer::new(&cell).layer(service_fn(signed));
    service.oneshot(get("/")).await.unwrap();
    idle(&stats, 1).await;
    let given_back = cell.replace(signer("new"));
    drop(given_back);
    // The only handle left is that of this test.
    assert_eq!(stats.stats().live, 1);
    assert_eq!(cell.current().stats().live, 1);
}
