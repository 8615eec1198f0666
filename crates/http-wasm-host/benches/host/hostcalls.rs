//! Each of the 19 functions: the time of one call, from a guest that calls it in a loop.

use std::time::Instant;

use criterion::Criterion;
use http::Request;
use http_wasm_host::{Body, Engine, Guest, HttpHost};

use crate::floor::Raw;
use crate::support::{FIELDS, answer, engine, exchange, load, request};

/// The number of calls in one exchange: enough to make the cost of the exchange itself negligible.
const CALLS: u32 = 1_000;

/// The strings in a guest's memory. Results are written from 4,096 on.
const DATA: &str = r#"
    (data (i32.const 0) "GET")
    (data (i32.const 16) "/a/path?query=1")
    (data (i32.const 64) "x-request-id")
    (data (i32.const 96) "fedcba9876543210")
    (data (i32.const 128) "x-not-there")"#;

/// The name of each benchmark, and the call in its loop.
const CASES: [(&str, &str); 20] = [
    ("enable_features", "(drop (call $enable_features (i32.const 3)))"),
    ("get_config", "(drop (call $get_config (i32.const 4096) (i32.const 64)))"),
    ("log, nobody listens", "(call $log (i32.const 0) (i32.const 16) (i32.const 15))"),
    ("log_enabled", "(drop (call $log_enabled (i32.const 0)))"),
    ("get_method", "(drop (call $get_method (i32.const 4096) (i32.const 64)))"),
    ("set_method", "(call $set_method (i32.const 0) (i32.const 3))"),
    ("get_uri", "(drop (call $get_uri (i32.const 4096) (i32.const 64)))"),
    // Alternates between two lengths, since setting the same value changes nothing.
    (
        "set_uri",
        "(call $set_uri (i32.const 16) (i32.add (i32.const 14) (i32.and (local.get $left) (i32.const 1))))",
    ),
    ("get_protocol_version", "(drop (call $get_protocol_version (i32.const 4096) (i32.const 64)))"),
    ("get_source_addr", "(drop (call $get_source_addr (i32.const 4096) (i32.const 64)))"),
    ("get_status_code", "(drop (call $get_status_code))"),
    ("set_status_code", "(call $set_status_code (i32.const 404))"),
    ("get_header_names", "(drop (call $get_header_names (i32.const 0) (i32.const 4096) (i32.const 4096)))"),
    (
        "get_header_values",
        "(drop (call $get_header_values
           (i32.const 0) (i32.const 64) (i32.const 12) (i32.const 4096) (i32.const 64)))",
    ),
    (
        "set_header_value",
        "(call $set_header_value (i32.const 0) (i32.const 64) (i32.const 12) (i32.const 96) (i32.const 16))",
    ),
    (
        "add_header_value, then remove_header",
        "(call $add_header_value (i32.const 0) (i32.const 128) (i32.const 11) (i32.const 96) (i32.const 16))
         (call $remove_header (i32.const 0) (i32.const 128) (i32.const 11))",
    ),
    ("remove_header, not there", "(call $remove_header (i32.const 0) (i32.const 128) (i32.const 11))"),
    ("read_body, 64 bytes", "(drop (call $read_body (i32.const 0) (i32.const 4096) (i32.const 64)))"),
    ("write_body, 64 bytes", "(call $write_body (i32.const 0) (i32.const 4096) (i32.const 64))"),
    ("write_body, 0 bytes", "(call $write_body (i32.const 0) (i32.const 4096) (i32.const 0))"),
];

pub(crate) fn suite(c: &mut Criterion) {
    let engine = engine();
    floors(c);
    let mut group = c.benchmark_group("hostcalls");
    for (name, call) in CASES {
        let guest = load(&engine, &looping(call));
        group.bench_function(name, |b| b.iter_custom(|iters| time(iters, || one(&guest, &FIELDS))));
    }
    group.finish();
    growing_with_headers(c, &engine);
}

/// Raw wasmtime in the same loop: functions that return a number, and that write 16 bytes.
fn floors(c: &mut Criterion) {
    let mut group = c.benchmark_group("hostcalls/raw wasmtime");
    for (name, call) in [
        ("answers a number", "(drop (call $get_status_code))"),
        ("writes 16 bytes", "(drop (call $get_uri (i32.const 4096) (i32.const 64)))"),
    ] {
        let mut instance = Raw::on_demand(&looping(call)).instance();
        group.bench_function(name, |b| {
            b.iter_custom(|iters| {
                time(iters, || {
                    let start = Instant::now();
                    instance.call();
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
}

/// Lists names and looks up a value, with many headers.
fn growing_with_headers(c: &mut Criterion, engine: &Engine) {
    const NAMES: [&str; 100] = names();
    let mut group = c.benchmark_group("hostcalls/among headers");
    for (name, call) in [CASES[12], CASES[13]] {
        let guest = load(engine, &looping(call));
        for count in [1, 10, 100] {
            let fields: Vec<_> = NAMES[..count].iter().map(|name| (*name, "0123456789abcdef")).collect();
            group.bench_function(format!("{name}/{count}"), |b| {
                b.iter_custom(|iters| time(iters, || one(&guest, &fields)));
            });
        }
    }
    group.finish();
}

/// 100 header names, which are slices of one text.
const fn names() -> [&'static str; 100] {
    let mut names = ["x-request-id"; 100];
    // Distinct prefixes: the n-th has n letters.
    const TEXT: &str = "x-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let mut at = 1;
    while at < names.len() {
        names[at] = TEXT.split_at(2 + at).0;
        at += 1;
    }
    names
}

/// A guest that repeats `call` in `handle_request`.
fn looping(call: &str) -> String {
    format!(
        r#"{DATA}
        (func (export "handle_request") (result i64)
          (local $left i32)
          (local.set $left (i32.const {CALLS}))
          (loop $again
            {call}
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
          i64.const 1)
        (func (export "handle_response") (param i32 i32))"#
    )
}

/// The time of `iters` calls, from exchanges with [`CALLS`] calls each.
fn time(iters: u64, mut exchange: impl FnMut() -> std::time::Duration) -> std::time::Duration {
    (0..iters).map(|_| exchange()).sum::<std::time::Duration>() / CALLS
}

/// The time of one exchange, whose request is created beforehand.
fn one(guest: &Guest<HttpHost>, fields: &[(&'static str, &'static str)]) -> std::time::Duration {
    let body = bytes::Bytes::from_static(&[7; 64 * CALLS as usize]);
    let request: Request<Body> = request(fields, Body::from(body));
    let start = Instant::now();
    let response = exchange(guest, request, answer);
    let elapsed = start.elapsed();
    drop(response);
    elapsed
}
