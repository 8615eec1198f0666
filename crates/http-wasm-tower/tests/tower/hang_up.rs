//! Clients that disconnect. An exchange whose request has proceeded gets its clean-up call, and one whose guest waits
//! for a body loses its instance. Nothing leaks. `abandoned` tests guests that are computing.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_wasm_tower::{Body, HttpWasmLayer};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use crate::guests::*;
use crate::support::*;

#[tokio::test]
async fn a_disconnect_before_the_guest_is_called_has_no_effect() {
    let guest = ledger();
    let service = HttpWasmLayer::new(guest.clone()).layer(service_fn(mirror));
    let (_feed, body) = fed();
    drop(service.clone().call(Request::post("/").body(body).unwrap()));
    idle(&guest, 1).await;
    assert_eq!(ledgers(&guest).await, [Ledger { begun: 0, ended: 0, errors: 0 }]);
}

#[tokio::test]
async fn a_disconnect_while_the_guest_reads_the_request_drops_the_instance() {
    let guest = ledger();
    let service = HttpWasmLayer::new(guest.clone()).layer(service_fn(mirror));
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("a beginning"))).unwrap();
    {
        let mut response = pin!(service.oneshot(Request::post("/").body(body).unwrap()));
        assert!(is_pending(response.as_mut()).await);
        assert_eq!((guest.stats().live, guest.stats().idle), (1, 0));
    }
    assert!(feed.is_closed(), "the request's body is dropped too");
    idle(&guest, 0).await;
    assert_eq!(guest.stats().dropped_cancelled, 1);
}

#[tokio::test]
async fn a_disconnect_in_the_next_handler_runs_clean_up_and_the_instance_is_reused() {
    let guest = ledger();
    let inner = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let service = HttpWasmLayer::new(guest.clone()).layer(inner);
    for hang_ups in 1..=3 {
        {
            let mut response = pin!(service.clone().oneshot(post("/", "body")));
            assert!(is_pending(response.as_mut()).await);
            assert_eq!((guest.stats().live, guest.stats().idle), (1, 0));
        }
        idle(&guest, 1).await;
        assert_eq!(ledgers(&guest).await, [Ledger { begun: hang_ups, ended: hang_ups, errors: hang_ups }]);
    }
    assert_eq!(guest.stats().created, 1);
}

#[tokio::test]
async fn a_disconnect_while_the_guest_reads_the_response_drops_the_instance() {
    let guest = ledger();
    let inner = service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(streamed(stream::pending())))
    });
    let service = HttpWasmLayer::new(guest.clone()).layer(inner);
    {
        let mut response = pin!(service.oneshot(get("/")));
        assert!(is_pending(response.as_mut()).await);
    }
    idle(&guest, 0).await;
    assert_eq!(guest.stats().dropped_cancelled, 1);
}

#[tokio::test]
async fn a_disconnect_in_the_response_body_does_not_affect_the_instance() {
    let guest = around(BUFFER_RESPONSE, "", "(call $set_header_value (i32.const 1) {x-guest} {was here})");
    let inner = service_fn(|_: Request<Body>| async { Ok(Response::new(streamed(stream::pending()))) });
    let response = call(&guest, inner, get("/")).await;
    idle(&guest, 1).await;
    drop(response);
    idle(&guest, 1).await;
}

/// Yields at random, as I/O does.
async fn yield_randomly(random: u64) {
    for _ in 0..random % 4 {
        tokio::task::yield_now().await;
    }
}

fn slow_body(pieces: u64, seed: u64) -> Body {
    streamed(stream::unfold((0, Random(seed)), move |(piece, mut random)| async move {
        yield_randomly(random.next()).await;
        (piece < pieces).then(|| (Ok(Bytes::from(vec![b'x'; 70])), (piece + 1, random)))
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_random_client_disconnects_leak_nothing() {
    let guest = ledger();
    let inner = service_fn(|request: Request<Body>| async move {
        let seed = collect(request.into_body()).await.len() as u64 + 1;
        yield_randomly(seed).await;
        Ok::<_, Infallible>(Response::new(slow_body(5, seed)))
    });
    let service = HttpWasmLayer::new(guest.clone()).layer(inner);
    let clients = (0..500u64).map(|client| {
        let service = service.clone();
        tokio::spawn(async move {
            let mut random = Random(client * 7919 + 1);
            let mut polls = random.below(40);
            let request = Request::post("/").body(slow_body(random.below(6), client + 1)).unwrap();
            let mut whole = Box::pin(async {
                let response = service.oneshot(request).await.unwrap();
                response.into_body().collect().await.unwrap();
            });
            // Each poll is a chance to disconnect.
            std::future::poll_fn(|cx| {
                if polls == 0 {
                    return std::task::Poll::Ready(());
                }
                polls -= 1;
                whole.as_mut().poll(cx)
            })
            .await;
        })
    });
    for done in futures_util::future::join_all(clients).await {
        done.unwrap();
    }
    all_idle(&guest).await;
    let stats = guest.stats();
    assert_eq!((stats.dropped_failed, stats.dropped_unclean), (0, 0), "{stats:?}");
    assert!(stats.dropped_cancelled > 0, "no client was cut off inside the guest");
    let ledgers = ledgers(&guest).await;
    assert!(ledgers.iter().all(|ledger| ledger.begun == ledger.ended), "{ledgers:?}");
    assert!(
        ledgers.iter().any(|ledger| ledger.errors > 0),
        "no client was cut off in the next handler: {ledgers:?}"
    );
}

/// Opens this many connections, and cuts each at a random byte of its request, or at a random time after it.
async fn cut_connections(addr: std::net::SocketAddr, count: u64) {
    const REQUEST: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
        10\r\n0123456789abcdef\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
    let clients = (0..count).map(|client| {
        tokio::spawn(async move {
            let mut random = Random(client * 104_729 + 1);
            // Spread out, because the listener's backlog is short.
            tokio::time::sleep(Duration::from_micros(random.below(count * 600))).await;
            let mut raw = Raw::connect(addr).await;
            let cut = random.below(REQUEST.len() as u64 * 2) as usize;
            raw.send(&REQUEST[..cut.min(REQUEST.len())]).await;
            tokio::time::sleep(Duration::from_micros(random.below(20_000))).await;
            if random.below(2) == 0 {
                // A reset rather than an orderly close.
                let _ = raw.0.set_zero_linger();
            }
        })
    });
    for done in futures_util::future::join_all(clients).await {
        done.unwrap();
    }
}

/// A handler that is slow and counts its calls.
fn slow_handler(
    calls: Arc<AtomicU64>,
) -> impl tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(move |request: Request<Body>| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            // This handler ignores whether the client's body is complete.
            let _ = request.into_body().collect().await;
            tokio::time::sleep(Duration::from_millis(call % 20)).await;
            Ok(Response::new(slow_body(50, call + 1)))
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_connections_closed_at_random_leak_nothing() {
    let guest = ledger();
    let calls = Arc::new(AtomicU64::new(0));
    let addr = serve_guest(&guest, slow_handler(calls.clone())).await;
    cut_connections(addr, 500).await;
    all_idle(&guest).await;
    let stats = guest.stats();
    assert_eq!(stats.dropped_unclean, 0, "{stats:?}");
    // Over HTTP/1.1, a disconnect while the guest runs is a request body that ends in an error.
    assert_eq!(stats.dropped_failed, 0, "{stats:?}");
    assert!(stats.dropped_cancelled > 0, "no client was cut off inside the guest");
    let ledgers = ledgers(&guest).await;
    assert!(ledgers.iter().all(|ledger| ledger.begun == ledger.ended), "{ledgers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_exchange_of_five_hundred_closed_connections_is_cleaned_up() {
    let guest = ledger_only();
    let calls = Arc::new(AtomicU64::new(0));
    let addr = serve_guest(&guest, slow_handler(calls.clone())).await;
    cut_connections(addr, 500).await;
    all_idle(&guest).await;
    let stats = guest.stats();
    assert_eq!((stats.dropped_failed, stats.dropped_unclean), (0, 0), "{stats:?}");
    let ledgers = ledgers(&guest).await;
    let sum = |field: fn(&Ledger) -> u32| ledgers.iter().map(field).sum::<u32>();
    // On a busy machine, a guest may have yielded at the end of an epoch when its client disconnects. It then continues
    // without the next handler.
    assert!(u64::from(sum(|ledger| ledger.begun)) >= calls.load(Ordering::Relaxed));
    assert_eq!(sum(|ledger| ledger.begun), sum(|ledger| ledger.ended));
    assert!(sum(|ledger| ledger.errors) > 0, "no client was cut off in the next handler: {ledgers:?}");
}
