//! Checkout, both phases, and return: warm, on several threads, with a new instance, and in a burst on a cold pool.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::Criterion;
use http::{Request, Response};
use http_wasm_host::{Body, Engine, Guest, PoolSettings};

use crate::floor::{Raw, RawInstance};
use crate::nothing::{self, Nothing};
use crate::support::{
    EMPTY, FIELDS, ONE_CALL, answer, engine, exchange, first_phase, load, load_with, module, now, request,
};

/// Requests are created in small batches outside the measured time. In larger batches, they would no longer be in the
/// cache when they are used, unlike those of a server.
const BATCH: u64 = 16;

pub(crate) fn suite(c: &mut Criterion) {
    let engine = engine();
    warm(c, &engine);
    threads(c, &engine);
    fresh(c, &engine);
    burst(c, &engine);
}

/// Compares a guest with a native closure that does the same, and with no middleware.
fn warm(c: &mut Criterion, engine: &Engine) {
    const PER_PHASE: &str = r#"
        (func (export "handle_request") (result i64) (drop (call $get_status_code)) i64.const 1)
        (func (export "handle_response") (param i32 i32) (drop (call $get_status_code)))"#;
    const HEADERS: &str = r#"
        (func (export "handle_request") (result i64)
          (drop (call $get_header_names (i32.const 0) (i32.const 0) (i32.const 4096))) i64.const 1)
        (func (export "handle_response") (param i32 i32))"#;
    compare(c, engine, "empty guest", EMPTY, |_| {}, |_| {});
    compare(c, engine, "one host call", ONE_CALL, |_| {}, |_| {});
    let read_status = |response: &mut Response<Body>| {
        black_box(response.status());
    };
    compare(c, engine, "one host call per phase", PER_PHASE, |_| {}, read_status);
    let list_names = |request: &mut Request<Body>| {
        let mut names = Vec::with_capacity(64);
        for name in request.headers().keys() {
            names.extend_from_slice(name.as_str().as_bytes());
            names.push(0);
        }
        black_box(names);
    };
    compare(c, engine, "header list", HEADERS, list_names, |_| {});

    let alone = load_alone(engine);
    let mut raw = Raw::on_demand(ONE_CALL).instance();
    let mut group = c.benchmark_group("lifecycle/one host call, by itself");
    group.bench_function("guest, a host of nothing", |b| b.iter(|| nothing::exchange(&alone)));
    group.bench_function("raw wasmtime", |b| b.iter(|| raw.call()));
    group.finish();

    let mut group = c.benchmark_group("lifecycle/no middleware");
    group.bench_function("at all", |b| b.iter_custom(|iters| turns(iters, answer)));
    group.finish();
}

fn compare(
    c: &mut Criterion,
    engine: &Engine,
    name: &str,
    body: &str,
    before: impl Fn(&mut Request<Body>),
    after: impl Fn(&mut Response<Body>),
) {
    let guest = load(engine, body);
    let native = |mut request: Request<Body>| {
        before(&mut request);
        let mut response = answer(request);
        after(&mut response);
        response
    };
    let mut group = c.benchmark_group(format!("lifecycle/{name}"));
    group.bench_function("guest", |b| {
        b.iter_custom(|iters| turns(iters, |request| exchange(&guest, request, answer)));
    });
    group.bench_function("native closure", |b| b.iter_custom(|iters| turns(iters, native)));
    group.finish();
}

/// The guest that makes one host call, on a no-op host: no request or response is moved, so this measures the cost of
/// pool, exchange and rules.
fn load_alone(engine: &Engine) -> Guest<Nothing> {
    Guest::load(engine, module(ONE_CALL).as_bytes()).expect("a valid guest")
}

/// One guest used by one thread and by two threads, compared with raw wasmtime with an instance per thread.
fn threads(c: &mut Criterion, engine: &Engine) {
    let guest = load(engine, ONE_CALL);
    let alone = load_alone(engine);
    let raw = Raw::on_demand(ONE_CALL);
    let mut group = c.benchmark_group("lifecycle/one host call, threads");
    for threads in [1, 2] {
        group.bench_function(format!("guest/{threads}"), |b| {
            b.iter_custom(|iters| {
                together(threads, || turns(iters, |request| exchange(&guest, request, answer)))
            });
        });
        group.bench_function(format!("guest, a host of nothing/{threads}"), |b| {
            b.iter_custom(|iters| {
                together(threads, || {
                    let start = Instant::now();
                    (0..iters).for_each(|_| nothing::exchange(&alone));
                    start.elapsed()
                })
            });
        });
        group.bench_function(format!("raw wasmtime/{threads}"), |b| {
            b.iter_custom(|iters| {
                together(threads, || {
                    let mut instance = raw.instance();
                    let start = Instant::now();
                    (0..iters).for_each(|_| instance.call());
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
}

/// A request that finds no idle instance: creating one, both phases, and dropping it.
fn fresh(c: &mut Criterion, engine: &Engine) {
    let none_idle = PoolSettings { max_idle: Some(0), ..PoolSettings::default() };
    let mut group = c.benchmark_group("lifecycle/new instance");
    for (size, body) in [("small", ONE_CALL), ("large", &large())] {
        let guest = load_with(engine, body, none_idle);
        group.bench_function(format!("{size} guest"), |b| {
            b.iter_custom(|iters| turns(iters, |request| exchange(&guest, request, answer)));
        });
        let raw = Raw::pooling(body);
        group.bench_function(format!("{size} guest, raw wasmtime in slots"), |b| {
            b.iter(|| raw.instance().call());
        });
    }
    let raw = Raw::on_demand(ONE_CALL);
    group.bench_function("small guest, raw wasmtime on demand", |b| b.iter(|| raw.instance().call()));
    group.finish();
}

/// The guest that makes one host call, as large as the output of a compiler with a large runtime: 4 MiB of data, and
/// 10,000 functions in a table.
fn large() -> String {
    const FUNCTIONS: usize = 10_000;
    let data = "\\ab".repeat(4 << 20);
    let functions = "(func (result i32) (i32.const 7) (i32.const 9) (i32.mul))".repeat(FUNCTIONS);
    // The imported function and those of the guest come first.
    let first = 3;
    let elements: String = (first..first + FUNCTIONS).map(|index| format!(" {index}")).collect();
    format!(
        "{ONE_CALL} {functions} (table {FUNCTIONS} funcref) (elem (i32.const 0){elements})
         (memory (export \"memory\") 65) (data (i32.const 65536) \"{data}\")"
    )
}

/// 1,000 requests that are between their phases at the same time.
fn burst(c: &mut Criterion, engine: &Engine) {
    const REQUESTS: u64 = 1_000;
    let mut group = c.benchmark_group("lifecycle/burst of 1,000");
    group.sample_size(20);
    group.bench_function("cold pool", |b| {
        b.iter_custom(|iters| (0..iters).map(|_| cold(engine, REQUESTS)).sum());
    });
    let raw = Raw::pooling(ONE_CALL);
    group.bench_function("raw wasmtime in slots", |b| {
        b.iter(|| {
            let mut instances: Vec<_> = (0..REQUESTS).map(|_| raw.instance()).collect();
            instances.iter_mut().for_each(RawInstance::call);
        });
    });
    let guest = load(engine, ONE_CALL);
    at_once(&guest, REQUESTS);
    group.bench_function("warm pool", |b| {
        b.iter_custom(|iters| (0..iters).map(|_| at_once(&guest, REQUESTS)).sum());
    });
    group.finish();
}

/// `requests` concurrent requests on a pool with hardly any instances. The measured time includes dropping the new
/// ones.
fn cold(engine: &Engine, requests: u64) -> Duration {
    let guest = load(engine, ONE_CALL);
    let taken = at_once(&guest, requests);
    let start = Instant::now();
    drop(guest);
    taken + start.elapsed()
}

/// `requests` requests, all of which complete their first phase before any starts its second.
fn at_once(guest: &http_wasm_host::Guest<http_wasm_host::HttpHost>, requests: u64) -> Duration {
    let requests: Vec<_> = (0..requests).map(|_| request(&FIELDS, Body::empty())).collect();
    let start = Instant::now();
    let pinned: Vec<_> = requests.into_iter().map(|request| first_phase(guest, request)).collect();
    for pinned in pinned {
        black_box(now(pinned.handle_response()).expect("the guest doesn't fail"));
    }
    start.elapsed()
}

/// The time of `iters` turns, excluding the creation of requests and the dropping of responses.
fn turns(iters: u64, turn: impl Fn(Request<Body>) -> Response<Body>) -> Duration {
    let mut taken = Duration::ZERO;
    let mut left = iters;
    let mut responses = Vec::with_capacity(BATCH as usize);
    while left > 0 {
        let batch = left.min(BATCH);
        let requests: Vec<_> = (0..batch).map(|_| request(&FIELDS, Body::empty())).collect();
        let start = Instant::now();
        responses.extend(requests.into_iter().map(&turn));
        taken += start.elapsed();
        responses.clear();
        left -= batch;
    }
    taken
}

/// The mean time that each of `threads` threads takes for `work`, all at the same time.
fn together(threads: u32, work: impl Fn() -> Duration + Sync) -> Duration {
    let start = Barrier::new(threads as usize);
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    work()
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).sum::<Duration>() / threads
    })
}
