//! The contract of a tower layer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{Empty, Full, StreamBody};
use http_wasm_tower::{Body, HttpWasmLayer, TokioRuntime};
use hyper::body::Frame;
use tower::{Layer as _, Service, ServiceExt, service_fn};

use crate::guests::*;
use crate::support::*;

/// Reads the request, so that the body's type matters.
fn reader() -> http_wasm_tower::Guest {
    around(BUFFER_REQUEST, "(drop (call $read_body (i32.const 0) (global.get $buf) (i32.const 2)))", "")
}

#[tokio::test]
async fn request_and_response_may_have_any_body() {
    async fn through<B, R>(request: B, response: R) -> (Bytes, Bytes)
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<http_wasm_tower::BoxError>,
        R: http_body::Body<Data = Bytes> + Send + 'static,
        R::Error: Into<http_wasm_tower::BoxError>,
    {
        let (seen, received) = tokio::sync::oneshot::channel();
        let answer = std::sync::Mutex::new(Some((seen, response)));
        let answer = Arc::new(answer);
        let inner = service_fn(move |request: Request<Body>| {
            let (seen, response) = answer.lock().unwrap().take().expect("called once");
            async move {
                seen.send(collect(request.into_body()).await).expect("the test waits");
                Ok::<_, Infallible>(Response::new(response))
            }
        });
        let service = HttpWasmLayer::new(reader()).layer(inner);
        let response = service.oneshot(Request::new(request)).await.expect("it can't fail");
        let response = collect(response.into_body()).await;
        (received.await.expect("the inner service was called"), response)
    }
    let frames = || {
        StreamBody::new(stream::iter(
            ["ab", "cd"].map(|data| Ok::<_, Infallible>(Frame::data(Bytes::from(data)))),
        ))
    };
    let (abcd, none) = (Bytes::from("abcd"), Bytes::new());
    assert_eq!(through(Empty::new(), Full::new(abcd.clone())).await, (none.clone(), abcd.clone()));
    assert_eq!(through(Full::new(abcd.clone()), Empty::new()).await, (abcd.clone(), none));
    assert_eq!(through(frames(), "abcd".to_owned()).await, (abcd.clone(), abcd.clone()));
    assert_eq!(through("abcd".to_owned(), frames()).await, (abcd.clone(), abcd.clone()));
    assert_eq!(
        through(axum::body::Body::from("abcd"), axum::body::Body::from("abcd")).await,
        (abcd.clone(), abcd)
    );
}

/// A service that may only be called after it was polled ready. A clone isn't ready.
#[derive(Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been polled ready");
        std::future::ready(Ok(Response::new(Body::empty())))
    }
}

async fn ready<S: Service<Request<Body>, Error: std::fmt::Debug>>(service: &mut S) -> &mut S {
    service.ready().await.unwrap()
}

#[tokio::test]
async fn the_inner_service_that_was_polled_ready_is_the_one_called() {
    let mut service = HttpWasmLayer::new(around(NO_FEATURES, "", "")).layer(Strict::default());
    for _ in 0..3 {
        ready(&mut service).await.call(get("/")).await.unwrap();
    }
    let mut clone = service.clone();
    ready(&mut clone).await.call(get("/")).await.unwrap();
}

#[tokio::test]
async fn the_layer_is_ready_when_the_inner_service_is() {
    let inner = tower::limit::ConcurrencyLimit::new(service_fn(mirror), 1);
    let mut service = HttpWasmLayer::new(around(NO_FEATURES, "", "")).layer(inner);
    let held = ready(&mut service).await.call(get("/"));
    assert!(ready(&mut service).now_or_never().is_none(), "the one permit is taken");
    drop(held);
    ready(&mut service).await;
}

#[tokio::test]
async fn the_inner_services_error_passes_through_and_the_guest_cleans_up() {
    let guest = ledger();
    let inner =
        service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>("the inner service's own error") });
    let service = HttpWasmLayer::new(guest.clone()).layer(inner);
    assert_eq!(service.oneshot(get("/")).await.unwrap_err(), "the inner service's own error");
    idle(&guest, 1).await;
    assert_eq!(ledgers(&guest).await, [Ledger { begun: 1, ended: 1, errors: 1 }]);
}

#[tokio::test]
async fn a_panic_of_the_inner_service_passes_through_and_the_guest_cleans_up() {
    let guest = ledger();
    let inner = service_fn(|_: Request<Body>| async {
        if true {
            std::panic::resume_unwind(Box::new("the inner service panics"));
        }
        Ok::<Response<Body>, Infallible>(Response::new(Body::empty()))
    });
    let service = HttpWasmLayer::new(guest.clone()).layer(inner);
    let panic = tokio::spawn(service.oneshot(get("/"))).await.unwrap_err();
    assert_eq!(panic.into_panic().downcast_ref(), Some(&"the inner service panics"));
    idle(&guest, 1).await;
    assert_eq!(ledgers(&guest).await, [Ledger { begun: 1, ended: 1, errors: 1 }]);
}

#[tokio::test]
async fn a_guest_that_stops_keeps_the_inner_service_from_being_called() {
    let guest = guest(
        NO_FEATURES,
        r#"(func (export "handle_request") (result i64)
            (call $set_status_code (i32.const 403))
            (call $write_body (i32.const 1) {no entry})
            (i64.const 0x2a_0000_0000))"#,
    );
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let inner = service_fn(move |request| {
        counted.fetch_add(1, Ordering::Relaxed);
        mirror(request)
    });
    let response = call(&guest, inner, get("/")).await;
    assert_eq!(response.status(), 403);
    assert_eq!(response.body().size_hint().exact(), Some(8));
    assert_eq!(text(response.into_body()).await, "no entry");
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    idle(&guest, 1).await;
}

#[tokio::test]
async fn extensions_of_request_and_response_pass_through() {
    #[derive(Clone, Debug, PartialEq)]
    struct Marked(u8);
    let guest =
        around(BUFFER_RESPONSE, "(call $set_uri {/other})", "(call $set_status_code (i32.const 201))");
    let inner = service_fn(|request: Request<Body>| async move {
        let mut response = Response::new(Body::empty());
        response
            .extensions_mut()
            .insert(request.extensions().get::<Marked>().cloned().expect("it came along"));
        Ok(response)
    });
    let mut request = get("/");
    request.extensions_mut().insert(Marked(7));
    let response = call(&guest, inner, request).await;
    assert_eq!(response.extensions().get(), Some(&Marked(7)));
    assert_eq!(response.status(), 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_each_get_their_own_instance_on_a_multi_threaded_runtime() {
    let guest = ledger();
    let addr = serve_guest(&guest, service_fn(mirror)).await;
    let clients = (0..20u8).map(|client| {
        tokio::spawn(async move {
            let mut http = Client::http1(addr).await;
            for _ in 0..20 {
                let sent = vec![client; 1000];
                assert_eq!(collect(http.send(post("/", sent.clone())).await.into_body()).await, sent);
            }
        })
    });
    for done in futures_util::future::join_all(clients).await {
        done.unwrap();
    }
    all_idle(&guest).await;
    let ledgers = ledgers(&guest).await;
    assert_eq!(ledgers.iter().map(|ledger| ledger.begun).sum::<u32>(), 400);
    assert!(ledgers.iter().all(|ledger| ledger.begun == ledger.ended && ledger.errors == 0), "{ledgers:?}");
}

#[test]
fn a_guest_that_starts_slowly_can_be_loaded_inside_a_runtime() {
    // Much longer than an epoch, at the end of which a guest yields.
    let module = module(
        NO_FEATURES,
        "(func $spin (local $i i32)
            (loop $again
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $i) (i32.const 200000000)))))
         (start $spin)",
    );
    let (loaded, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let load = async { http_wasm_tower::Guest::load(engine(), module.as_bytes()).map(drop) };
        loaded.send(runtime.block_on(load)).unwrap();
    });
    outcome.recv_timeout(TIMEOUT).expect("loading ends").expect("loading succeeds");
}

#[test]
fn an_engine_outlives_the_runtimes_that_use_it() {
    let engine = http_wasm_tower::Engine::builder().runtime(TokioRuntime::default()).build().unwrap();
    let module = module(
        BUFFER_REQUEST,
        r#"(func (export "handle_request") (result i64)
        (drop (call $read_body (i32.const 0) (global.get $buf) (i32.const 2))) (i64.const 1))"#,
    );
    let guest = http_wasm_tower::Guest::builder(&engine).load(module.as_bytes()).unwrap();
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (feed, body) = fed();
            let request = Request::post("/").body(body).unwrap();
            let response = tokio::spawn({
                let guest = guest.clone();
                async move { text(call(&guest, service_fn(mirror), request).await.into_body()).await }
            });
            tokio::task::yield_now().await;
            feed.send(Ok(Bytes::from("whole"))).unwrap();
            drop(feed);
            assert_eq!(response.await.unwrap(), "whole");
        });
    }
}

#[tokio::test]
async fn a_guest_that_answers_itself_holds_no_permit_of_the_inner_service() {
    let guest = guest(
        NO_FEATURES,
        r#"(func (export "handle_request") (result i64) (i64.const 0))
        (func (export "handle_response") (param i32 i32))"#,
    );
    let one_at_a_time = tower::limit::ConcurrencyLimit::new(service_fn(mirror), 1);
    let service = HttpWasmLayer::new(guest).layer(one_at_a_time);
    // Often enough for the guest to be classified as quick, so that it runs within `call`.
    for _ in 0..200 {
        // Kept alive after its request, as a connection keeps its service.
        let mut kept = service.clone();
        let kept_ready = ServiceExt::<Request<Body>>::ready(&mut kept).await.expect("it can't fail");
        kept_ready.call(get("/")).await.expect("it can't fail");
        let mut other = service.clone();
        let free = ServiceExt::<Request<Body>>::ready(&mut other).now_or_never().is_some();
        assert!(free, "nobody is being served");
    }
}
