//! Whole exchanges in process: checkout, both phases, give-back. Each stands beside a native closure that does the
//! same to the same request, so that a ratio can be read off one run.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderValue, Request, Response};
use http_body::Body as _;
use http_wasm_host::{Body, Engine, Guest, HttpHost, Outcome};

/// Requests are made in small batches outside the time taken: larger ones fall out of the cache, which no server's do.
const BATCH: BatchSize = BatchSize::NumIterations(16);

/// Polls a future that has nothing to wait for but its own turn.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

fn guest(body: &str) -> Guest<HttpHost> {
    let wat = format!(
        r#"(module
          (import "http_handler" "get_status_code" (func $get_status_code (result i32)))
          (import "http_handler" "get_header_names" (func $names (param i32 i32 i32) (result i64)))
          (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
          (memory (export "memory") 1)
          {body})"#
    );
    // Imports that a guest doesn't use would put it at a disadvantage beside one that doesn't have them.
    let used: String = wat
        .lines()
        .filter(|line| {
            let name = line.split("(func $").nth(1).and_then(|rest| rest.split(' ').next());
            !line.contains("(import") || name.is_some_and(|name| body.contains(&format!("call ${name}")))
        })
        .collect::<Vec<_>>()
        .join("\n");
    let engine = Engine::new().expect("an engine");
    Guest::load(&engine, used.as_bytes()).expect("a valid guest")
}

fn request(body: &[u8]) -> Request<Body> {
    let mut request = Request::new(Body::from(bytes::Bytes::copy_from_slice(body)));
    for (name, value) in [("accept", "*/*"), ("user-agent", "bench"), ("x-request-id", "0123456789abcdef")] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// One request through a guest that lets it pass, as an adapter does it.
fn exchange(guest: &Guest<HttpHost>, request: Request<Body>) -> Response<Body> {
    match now(guest.handle_request(HttpHost::new(request, None))).expect("the guest doesn't fail") {
        Outcome::Respond(host) | Outcome::Bypassed { host, .. } => host.into_response(),
        Outcome::Next(mut pinned) => {
            let keep_head = pinned.reads_request();
            black_box(pinned.host_mut().take_request(keep_head));
            pinned.host_mut().set_response(Response::new(Body::empty()));
            now(pinned.handle_response()).expect("the guest doesn't fail").host.into_response()
        }
    }
}

/// The same without a guest: `before` and `after` do what its functions do.
fn native(
    request: Request<Body>,
    before: impl Fn(&mut Request<Body>),
    after: impl Fn(&mut Response<Body>),
) -> Response<Body> {
    let mut request = request;
    before(&mut request);
    black_box(request);
    let mut response = Response::new(Body::empty());
    after(&mut response);
    response
}

fn compare(
    c: &mut Criterion,
    name: &str,
    wat: &str,
    body: &[u8],
    before: impl Fn(&mut Request<Body>),
    after: impl Fn(&mut Response<Body>),
) {
    let guest = guest(wat);
    let mut group = c.benchmark_group(name);
    group.bench_function("guest", |b| {
        b.iter_batched(|| request(body), |request| exchange(&guest, request), BATCH);
    });
    group.bench_function("native", |b| {
        b.iter_batched(|| request(body), |request| native(request, &before, &after), BATCH);
    });
    group.finish();
}

fn benches(c: &mut Criterion) {
    compare(
        c,
        "empty guest",
        r#"(func (export "handle_request") (result i64) i64.const 1)
           (func (export "handle_response") (param i32 i32))"#,
        b"",
        |_| {},
        |_| {},
    );
    compare(
        c,
        "one host call per phase",
        r#"(func (export "handle_request") (result i64) (drop (call $get_status_code)) i64.const 1)
           (func (export "handle_response") (param i32 i32) (drop (call $get_status_code)))"#,
        b"",
        |_| {},
        |response| {
            black_box(response.status());
        },
    );
    compare(
        c,
        "one host call",
        r#"(func (export "handle_request") (result i64) (drop (call $get_status_code)) i64.const 1)
           (func (export "handle_response") (param i32 i32))"#,
        b"",
        |_| {},
        |_| {},
    );
    compare(
        c,
        "header list",
        r#"(func (export "handle_request") (result i64)
             (drop (call $get_header_names (i32.const 0) (i32.const 0) (i32.const 4096))) i64.const 1)
           (func (export "handle_response") (param i32 i32))"#
            .replace("get_header_names", "names")
            .as_str(),
        b"",
        |request| {
            let mut names = Vec::with_capacity(64);
            for name in request.headers().keys() {
                names.extend_from_slice(name.as_str().as_bytes());
                names.push(0);
            }
            black_box(names);
        },
        |_| {},
    );
    compare(
        c,
        "body read of 4 KiB",
        r#"(func (export "handle_request") (result i64)
             (drop (call $read_body (i32.const 0) (i32.const 0) (i32.const 8192))) i64.const 1)
           (func (export "handle_response") (param i32 i32))"#,
        &[7; 4096],
        |request| {
            let mut copy = Vec::with_capacity(8192);
            let mut cx = Context::from_waker(Waker::noop());
            while let Poll::Ready(Some(Ok(frame))) = pin!(request.body_mut()).poll_frame(&mut cx) {
                copy.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            }
            black_box(copy);
        },
        |_| {},
    );
}

/// The least that wasmtime can do: one host call and an empty second function, called one after the other.
fn floor(c: &mut Criterion) {
    let engine = wasmtime::Engine::new(wasmtime::Config::new().epoch_interruption(true)).expect("an engine");
    let wat = r#"(module
      (import "h" "f" (func $f (result i32)))
      (memory (export "memory") 1)
      (func (export "handle_request") (result i64) (drop (call $f)) i64.const 1)
      (func (export "handle_response") (param i32 i32)))"#;
    let module = wasmtime::Module::new(&engine, wat::parse_str(wat).expect("WAT")).expect("a module");
    let mut linker = wasmtime::Linker::<u32>::new(&engine);
    linker.func_wrap("h", "f", |caller: wasmtime::Caller<'_, u32>| *caller.data()).expect("a new name");
    let mut store = wasmtime::Store::new(&engine, 200);
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = linker.instantiate(&mut store, &module).expect("an instance");
    let first = instance.get_typed_func::<(), u64>(&mut store, "handle_request").expect("exported");
    let second = instance.get_typed_func::<(u32, u32), ()>(&mut store, "handle_response").expect("exported");
    c.bench_function("floor: one host call in raw wasmtime", |b| {
        b.iter(|| {
            black_box(first.call(&mut store, ()).expect("no trap"));
            second.call(&mut store, (0, 0)).expect("no trap");
        });
    });
}

criterion_group!(all, floor, benches);
criterion_main!(all);
