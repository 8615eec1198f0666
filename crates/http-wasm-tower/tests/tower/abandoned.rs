//! Clients that disconnect while a guest is computing: the call continues, and the instance is kept.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_wasm_tower::{AbandonedCall, Body, Chain, Engine, GuestObserver, HttpWasmLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::guests::*;
use crate::support::*;

/// Polls once, during which the guest computes for a few milliseconds.
fn begin(call: std::pin::Pin<&mut impl Future>) {
    assert!(call.poll(&mut Context::from_waker(Waker::noop())).is_pending(), "it computes for longer");
}

#[tokio::test]
async fn an_abandoned_handle_request_finishes_and_handle_response_gets_is_error() {
    let guest = ledger_that_computes("");
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        mirror(request)
    });
    let service = HttpWasmLayer::new(guest.clone()).layer(inner);
    for hang_ups in 1..=3 {
        begin(pin!(service.clone().oneshot(post("/", "body"))));
        assert_eq!((guest.stats().idle, guest.stats().abandoned), (0, 1));
        idle(&guest, 1).await;
        assert_eq!(ledgers(&guest).await, [Ledger { begun: hang_ups, ended: hang_ups, errors: hang_ups }]);
    }
    let stats = guest.stats();
    assert_eq!((stats.created, stats.dropped_cancelled, stats.dropped_unclean), (1, 0, 0), "{stats:?}");
    assert_eq!(calls.load(Ordering::Relaxed), 0, "the next handler was called");
}

#[tokio::test]
async fn an_abandoned_handle_response_finishes() {
    let compute = format!("{COMPUTE}{}", phases("", "(call $compute (i32.const 100000000))"));
    let guest = guest(NO_FEATURES, &compute);
    begin(pin!(HttpWasmLayer::new(guest.clone()).layer(service_fn(mirror)).oneshot(get("/"))));
    assert_eq!(guest.stats().abandoned, 1);
    idle(&guest, 1).await;
    reaches(&guest, "no abandoned calls", |stats| stats.abandoned == 0).await;
    assert_eq!(guest.stats().dropped_cancelled, 0);
}

#[tokio::test]
async fn an_abandoned_call_can_read_what_was_received_and_ends_when_it_waits() {
    let guest = ledger_that_computes("(call $read_all (i32.const 0))");
    let service = HttpWasmLayer::new(guest.clone()).layer(service_fn(mirror));
    begin(pin!(service.clone().oneshot(post("/", "all of it"))));
    idle(&guest, 1).await;
    assert_eq!(ledgers(&guest).await, [Ledger { begun: 1, ended: 1, errors: 1 }]);
    let (feed, body) = fed();
    feed.send(Ok(Bytes::from("a beginning"))).unwrap();
    begin(pin!(service.oneshot(Request::post("/").body(body).unwrap())));
    idle(&guest, 0).await;
    assert!(feed.is_closed());
    assert_eq!(guest.stats().dropped_cancelled, 1);
}

#[tokio::test]
async fn an_abandoned_start_up_is_finished_for_the_next_request() {
    let start = "(func $begin (call $compute (i32.const 100000000))) (start $begin)";
    let guest = guest(NO_FEATURES, &format!("{COMPUTE}{start}{}", phases("", "(drop (i32.const 0))")));
    let inner = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let service = HttpWasmLayer::new(guest.clone()).layer(inner);
    let mut first = pin!(service.clone().oneshot(get("/")));
    assert!(is_pending(first.as_mut()).await);
    begin(pin!(service.clone().oneshot(get("/"))));
    reaches(&guest, "another instance that is idle", |stats| (stats.idle, stats.live) == (1, 2)).await;
    assert_eq!((guest.stats().created, guest.stats().dropped_cancelled), (2, 0));
}

#[tokio::test]
async fn a_lost_instance_with_a_slow_start_up_is_replaced_in_advance() {
    let start = "(func $begin (call $compute (i32.const 100000000))) (start $begin)";
    let guest = guest(NO_FEATURES, &format!("{COMPUTE}{start}{}", phases("unreachable", "")));
    let response = call(&guest, service_fn(mirror), get("/")).await;
    assert_eq!(response.status(), 500);
    idle(&guest, 1).await;
    assert_eq!((guest.stats().created, guest.stats().dropped_failed), (2, 1));
}

struct HoldingObserver(Arc<()>);

impl GuestObserver for HoldingObserver {
    fn abandoned(self, call: AbandonedCall) {
        call.hold(self.0);
    }
}

#[tokio::test]
async fn an_abandoned_call_holds_its_observer_until_it_has_ended() {
    let guest = ledger_that_computes("");
    let share = Arc::new(());
    let observer = |_| HoldingObserver(share.clone());
    let chain = Chain::new([guest.clone()]);
    begin(pin!(chain.call_observed(get("/"), None, observer, mirror)));
    assert_eq!(Arc::strong_count(&share), 2);
    idle(&guest, 1).await;
    soon(async {
        while Arc::strong_count(&share) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[test]
fn without_a_runtime_the_instance_of_an_abandoned_call_is_dropped() {
    let guest = ledger_that_computes("");
    begin(pin!(HttpWasmLayer::new(guest.clone()).layer(service_fn(mirror)).oneshot(get("/"))));
    let stats = guest.stats();
    assert_eq!((stats.live, stats.abandoned, stats.dropped_cancelled), (0, 0, 1), "{stats:?}");
}

/// A guest that computes for a few milliseconds per request, and has been classified as heavy.
async fn heavy() -> http_wasm_tower::Guest {
    let text = format!("{COMPUTE}{}", phases("(call $compute (i32.const 4000000))", "(drop (i32.const 0))"));
    // A new engine, so that guests of other tests don't take its threads.
    let engine = Engine::new().unwrap();
    let module = module(NO_FEATURES, &text);
    let load = || http_wasm_tower::Guest::load(&engine, module.as_bytes()).unwrap();
    let guest = std::thread::scope(|threads| threads.spawn(load).join().unwrap());
    for _ in 0..16 {
        call(&guest, service_fn(mirror), get("/")).await;
    }
    assert_eq!(guest.stats().created, 1);
    guest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_for_a_heavy_guest_wait_for_a_compute_permit_before_an_instance() {
    let guest = heavy().await;
    let service = HttpWasmLayer::new(guest.clone()).layer(service_fn(mirror));
    let requests: Vec<_> = (0..200).map(|_| tokio::spawn(service.clone().oneshot(get("/")))).collect();
    for response in soon(futures_util::future::join_all(requests)).await {
        assert_eq!(response.unwrap().unwrap().status(), 200);
    }
    // One for each thread would be enough, but an instance is returned shortly after its permit, so on a busy machine
    // there are more.
    let stats = guest.stats();
    assert!(stats.created < 50, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn heavy_guests_in_one_chain_do_not_wait_for_each_other() {
    let guest = heavy().await;
    let chain = Chain::new([guest.clone(), guest.clone(), guest.clone()]);
    let requests = (0..30).map(|_| {
        let chain = chain.clone();
        tokio::spawn(async move { chain.call(get("/"), mirror).await.unwrap().status() })
    });
    for status in soon(futures_util::future::join_all(requests)).await {
        assert_eq!(status.unwrap(), 200);
    }
    all_idle(&guest).await;
}
