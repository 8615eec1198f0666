//! Compares a service behind a guest with the same service behind a native layer that does the same.

mod functions;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, Full};
use http_wasm_tower::{Chain, Engine, Guest, HttpWasmLayer};
use tower::util::{BoxCloneSyncService, MapRequestLayer, MapResponseLayer};
use tower::{Layer, Service, ServiceExt as _, service_fn};

/// Requests are created in small batches outside the measured time. In larger batches, they would no longer be in the
/// cache when they are used, unlike those of a server.
const BATCH: BatchSize = BatchSize::NumIterations(16);

/// Sets one header of the request and one of the response.
const SETS_HEADERS: &str = r#"(module
    (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "x-tenant") (data (i32.const 16) "acme") (data (i32.const 32) "x-served-by")
    (func (export "handle_request") (result i64)
      (call $set (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 16) (i32.const 4))
      (call $set (i32.const 1) (i32.const 32) (i32.const 11) (i32.const 16) (i32.const 4))
      i64.const 1)
    (func (export "handle_response") (param i32 i32)))"#;

/// Reads the request's body, which is forwarded unchanged.
const READS_BODY: &str = r#"(module
    (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
    (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
    (memory (export "memory") 1)
    (func (export "_initialize") (drop (call $enable_features (i32.const 1))))
    (func (export "handle_request") (result i64)
      (drop (call $read_body (i32.const 0) (i32.const 0) (i32.const 65536)))
      i64.const 1)
    (func (export "handle_response") (param i32 i32)))"#;

fn suite(c: &mut Criterion) {
    let engine = Engine::new().expect("this machine runs WebAssembly");
    set_headers(c, &engine);
    read_body(c, &engine);
    chains(c, &engine);
    functions::suite(c, &engine);
}

fn set_headers(c: &mut Criterion, engine: &Engine) {
    let mut group = c.benchmark_group("tower/set two headers");
    let request = || request(10, b"");
    group.bench_function("no middleware", |b| {
        b.iter_batched(request, |request| call(service_fn(hello), request), BATCH);
    });
    let native =
        (MapRequestLayer::new(set_tenant), MapResponseLayer::new(set_served_by)).layer(service_fn(hello));
    group.bench_function("native layer", |b| {
        b.iter_batched(request, |request| call(native.clone(), request), BATCH)
    });
    let guest = HttpWasmLayer::new(load(engine, SETS_HEADERS)).layer(service_fn(hello));
    group.bench_function("guest", |b| b.iter_batched(request, |request| call(guest.clone(), request), BATCH));
    group.finish();
}

fn read_body(c: &mut Criterion, engine: &Engine) {
    let mut group = c.benchmark_group("tower/read a body of 4 KiB");
    let request = || request(10, &[7; 4096]);
    let native = service_fn(|request: Request<Full<Bytes>>| {
        let (head, body) = request.into_parts();
        let body = now(body.collect()).expect("it can't fail").to_bytes();
        hello(Request::from_parts(head, Full::new(black_box(body))))
    });
    group.bench_function("native layer", |b| b.iter_batched(request, |request| call(native, request), BATCH));
    let guest = HttpWasmLayer::new(load(engine, READS_BODY)).layer(service_fn(hello));
    group.bench_function("guest", |b| b.iter_batched(request, |request| call(guest.clone(), request), BATCH));
    group.finish();
}

/// Several guests, each with its own instances, as boxed layers and as one chain.
fn chains(c: &mut Criterion, engine: &Engine) {
    let mut group = c.benchmark_group("tower/chain of guests");
    for length in [0, 1, 2, 4, 8] {
        let service = (0..length).fold(BoxCloneSyncService::new(service_fn(hello)), |next, _| {
            BoxCloneSyncService::new(HttpWasmLayer::new(load(engine, SETS_HEADERS)).layer(next))
        });
        let request = || request(10, b"").map(http_wasm_tower::Body::new);
        group.bench_function(format!("{length} layers"), |b| {
            b.iter_batched(request, |request| call(service.clone(), request), BATCH);
        });
        let chain = Chain::new((0..length).map(|_| load(engine, SETS_HEADERS)));
        group.bench_function(format!("{length} in a chain"), |b| {
            b.iter_batched(request, |request| now(chain.call(request, hello)), BATCH);
        });
    }
    group.finish();
}

/// The service itself.
fn hello<B>(request: Request<B>) -> Ready<Result<Response<http_wasm_tower::Body>, Infallible>> {
    drop(black_box(request));
    ready(Ok(Response::new(http_wasm_tower::Body::from(Bytes::from_static(b"hello world")))))
}

fn set_tenant<B>(mut request: Request<B>) -> Request<B> {
    request.headers_mut().insert(HeaderName::from_static("x-tenant"), HeaderValue::from_static("acme"));
    request
}

fn set_served_by<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().insert(HeaderName::from_static("x-served-by"), HeaderValue::from_static("acme"));
    response
}

fn load(engine: &Engine, wat: &str) -> Guest {
    Guest::load(engine, wat.as_bytes()).expect("a valid guest")
}

/// A request with this many headers.
fn request(fields: usize, body: &[u8]) -> Request<Full<Bytes>> {
    const NAMES: [&str; 10] = [
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "accept-language",
        "cookie",
        "referer",
        "cache-control",
        "x-forwarded-for",
        "x-request-id",
    ];
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(body)));
    for name in &NAMES[..fields] {
        request.headers_mut().insert(*name, HeaderValue::from_static("a value of ordinary length"));
    }
    request
}

/// One request through a service.
fn call<S, B, R>(service: S, request: Request<B>) -> Response<R>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    R: HttpBody,
{
    now(service.oneshot(request)).expect("it can't fail")
}

/// Polls a future that never waits for anything external.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

criterion_group!(tower, suite);
criterion_main!(tower);
