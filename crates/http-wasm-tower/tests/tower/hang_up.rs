//! Clients that go away. An exchange that was let through gets its clean-up; one that was cut off inside the guest
//! loses its instance; nothing stays behind.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_wasm_tower::{Body, HttpWasmLayer};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

use crate::support::*;

#[tokio::test]
async fn before_the_guest_was_called_nothing_happens() {
    let guest = ledger();
    let service = HttpWasmLayer::new(guest.clone()).layer(service_fn(mirror));
    let (_feed, body) = fed();
    drop(service.clone().call(Request::post("/").body(body).unwrap()));
    idle(&guest, 1).await;
    assert_eq!(ledgers(&guest).await, [Ledger { begun: 0, ended: 0, errors: 0 }]);
}

#[tokio::test]
async fn while_the_guest_reads_the_request_the_instance_is_dropped() {
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
async fn in_the_next_handler_the_guest_cleans_up_and_the_instance_is_reused() {
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
async fn while_the_guest_reads_the_response_the_instance_is_dropped() {
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
async fn in_the_response_body_the_instance_has_long_been_free() {
    let guest = around(BUFFER_RESPONSE, "", "(call $set_header_value (i32.const 1) {x-guest} {was here})");
    let inner = service_fn(|_: Request<Body>| async { Ok(Response::new(streamed(stream::pending()))) });
    let response = call(&guest, inner, get("/")).await;
    idle(&guest, 1).await;
    drop(response);
    idle(&guest, 1).await;
}

/// Gives way to others, now and then, as I/O does.
async fn dawdle(random: u64) {
    for _ in 0..random % 4 {
        tokio::task::yield_now().await;
    }
}

fn slow_body(pieces: u64, seed: u64) -> Body {
    streamed(stream::unfold((0, Random(seed)), move |(piece, mut random)| async move {
        dawdle(random.next()).await;
        (piece < pieces).then(|| (Ok(Bytes::from(vec![b'x'; 70])), (piece + 1, random)))
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_that_hang_up_at_random_leave_nothing_behind() {
    let guest = ledger();
    let inner = service_fn(|request: Request<Body>| async move {
        let seed = collect(request.into_body()).await.len() as u64 + 1;
        dawdle(seed).await;
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
            // One poll, one chance to go.
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
    nothing_left(&guest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_connections_cut_at_random_leave_nothing_behind() {
    let guest = ledger();
    let inner = service_fn(|request: Request<Body>| async move {
        // Whether the client's body breaks off is not this handler's business.
        let seed = request.into_body().collect().await.map_or(1, |body| body.to_bytes().len() as u64 + 1);
        tokio::time::sleep(Duration::from_micros(seed * 20)).await;
        Ok(Response::new(slow_body(50, seed)))
    });
    let addr = serve_guest(&guest, inner).await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n32\r\n01234567890123456789012345678901234567890123456789\r\n0\r\n\r\n";
    let clients = (0..500u64).map(|client| {
        tokio::spawn(async move {
            let mut random = Random(client * 104_729 + 1);
            // Spread out, for a listener's backlog is short.
            tokio::time::sleep(Duration::from_millis(random.below(300))).await;
            let mut raw = Raw::connect(addr).await;
            let cut = random.below(request.len() as u64 * 2) as usize;
            raw.send(&request[..cut.min(request.len())]).await;
            tokio::time::sleep(Duration::from_micros(random.below(5000))).await;
            if random.below(2) == 0 {
                // A reset rather than an orderly end.
                let _ = raw.0.set_zero_linger();
            }
        })
    });
    for done in futures_util::future::join_all(clients).await {
        done.unwrap();
    }
    nothing_left(&guest).await;
}

async fn nothing_left(guest: &http_wasm_tower::Guest) {
    all_idle(guest).await;
    let stats = guest.stats();
    assert_eq!(stats.dropped_unclean, 0, "{stats:?}");
    // Over HTTP/1.1 a hang-up inside the guest is a request body that ends in an error.
    let cut_off = stats.dropped_cancelled + stats.dropped_failed;
    assert_eq!(stats.created, stats.live + cut_off, "{stats:?}");
    let ledgers = ledgers(guest).await;
    assert!(ledgers.iter().all(|ledger| ledger.begun == ledger.ended), "{ledgers:?}");
    assert!(
        ledgers.iter().any(|ledger| ledger.errors > 0),
        "no client was cut off in the next handler: {ledgers:?}"
    );
    assert!(cut_off > 0, "no client was cut off inside the guest");
}
