//! Guests in a few lines of WAT, and their statistics.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use http::{Request, Response};
use http_wasm_tower::{Body, Engine, Guest, GuestBuilder, HttpWasmLayer, Limits, PoolStats};
use tower::{Layer as _, ServiceExt as _};

use crate::support::{TIMEOUT, collect, soon};

pub(crate) const NO_FEATURES: u32 = 0;
pub(crate) const BUFFER_REQUEST: u32 = 1;
pub(crate) const BUFFER_RESPONSE: u32 = 2;
pub(crate) const TRAILERS: u32 = 4;

const ABI: [(&str, &str); 19] = [
    ("enable_features", "(param i32) (result i32)"),
    ("get_config", "(param i32 i32) (result i32)"),
    ("log", "(param i32 i32 i32)"),
    ("log_enabled", "(param i32) (result i32)"),
    ("get_method", "(param i32 i32) (result i32)"),
    ("set_method", "(param i32 i32)"),
    ("get_uri", "(param i32 i32) (result i32)"),
    ("set_uri", "(param i32 i32)"),
    ("get_protocol_version", "(param i32 i32) (result i32)"),
    ("get_source_addr", "(param i32 i32) (result i32)"),
    ("get_header_names", "(param i32 i32 i32) (result i64)"),
    ("get_header_values", "(param i32 i32 i32 i32 i32) (result i64)"),
    ("set_header_value", "(param i32 i32 i32 i32 i32)"),
    ("add_header_value", "(param i32 i32 i32 i32 i32)"),
    ("remove_header", "(param i32 i32 i32)"),
    ("read_body", "(param i32 i32 i32) (result i64)"),
    ("write_body", "(param i32 i32 i32)"),
    ("get_status_code", "(result i32)"),
    ("set_status_code", "(param i32)"),
];

/// Completes `text` to a module: imports the functions that are called, exports a memory, replaces `{some text}` with
/// its offset and length, and adds default functions that let messages pass. At least 1 MiB of memory from `$buf` on is
/// free.
pub(crate) fn module(features: u32, text: &str) -> String {
    let start = match features {
        0 => String::new(),
        bits => format!("(func $start (drop (call $enable_features (i32.const {bits})))) (start $start)"),
    };
    let mut rest = format!("{start}\n{text}");
    let mut data = String::new();
    let mut offset = 0;
    while let Some((before, literal, after)) = rest
        .split_once('{')
        .and_then(|(before, after)| after.split_once('}').map(|(literal, after)| (before, literal, after)))
    {
        writeln!(data, r#"(data (i32.const {offset}) "{literal}")"#).expect("a string takes all");
        let len = literal.len();
        rest = format!("{before}(i32.const {offset}) (i32.const {len}){after}");
        offset += len;
    }
    let mut module = String::from("(module\n");
    for (name, signature) in ABI {
        if rest.split(&format!("call ${name}")).skip(1).any(|after| after.starts_with([' ', ')'])) {
            writeln!(module, r#"(import "http_handler" "{name}" (func ${name} {signature}))"#)
                .expect("a string takes all");
        }
    }
    module += r#"(memory (export "memory") 18) (global $buf i32 (i32.const 65536))"#;
    module += &data;
    module += &rest;
    if !rest.contains(r#""handle_request""#) {
        module += r#"(func (export "handle_request") (result i64) (i64.const 1))"#;
    }
    if !rest.contains(r#""handle_response""#) {
        module += r#"(func (export "handle_response") (param i32 i32))"#;
    }
    module + ")"
}

/// Reads an entire body, 100 bytes at a time.
pub(crate) fn read_all(kind: u32) -> String {
    format!(
        "(loop $more (br_if $more (i64.eqz (i64.shr_u
            (call $read_body (i32.const {kind}) (global.get $buf) (i32.const 100)) (i64.const 32)))))"
    )
}

pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| http_wasm_tower::Engine::new().expect("an engine can be made"))
}

pub(crate) fn guest(features: u32, text: &str) -> Guest {
    limited_guest(Limits::default(), features, text)
}

pub(crate) fn limited_guest(limits: Limits, features: u32, text: &str) -> Guest {
    guest_with(|builder| builder.limits(limits), features, text)
}

/// A guest with these settings.
pub(crate) fn guest_with(
    settings: impl FnOnce(GuestBuilder) -> GuestBuilder + Send,
    features: u32,
    text: &str,
) -> Guest {
    let module = module(features, text);
    // On a separate thread, since compiling would block one of the executor.
    let load = || settings(Guest::builder(engine())).load(module.as_bytes());
    let guest = std::thread::scope(|threads| threads.spawn(load).join().expect("loading doesn't panic"));
    guest.unwrap_or_else(|error| panic!("{error}\n{module}"))
}

/// A guest that runs `before` in `handle_request` and `after` in `handle_response`.
pub(crate) fn around(features: u32, before: &str, after: &str) -> Guest {
    guest(features, &phases(before, after))
}

/// The two functions of a guest that proceeds.
pub(crate) fn phases(before: &str, after: &str) -> String {
    format!(
        r#"(func (export "handle_request") (result i64) {before} (i64.const 1))
           (func (export "handle_response") (param $ctx i32) (param $is_error i32) {after})"#
    )
}

/// Counts in the instance's memory how many exchanges were begun, how many have ended, and how many of those with
/// `is_error`. Reads all bodies. A request for `/ledger` isn't counted; the three numbers precede the body of its
/// response.
pub(crate) fn ledger() -> Guest {
    guest(BUFFER_REQUEST | BUFFER_RESPONSE, LEDGER)
}

/// The same, without reading bodies, so that it can't be interrupted while doing so.
pub(crate) fn ledger_only() -> Guest {
    let text =
        LEDGER.replace("(call $read_all (i32.const 0))", "").replace("(call $read_all (i32.const 1))", "");
    guest(BUFFER_REQUEST | BUFFER_RESPONSE, &text)
}

/// The same, but it computes for about a tenth of a second before it counts a request, and then runs `then`.
pub(crate) fn ledger_that_computes(then: &str) -> Guest {
    let text = LEDGER
        .replace("(call $read_all (i32.const 0))", &format!("(call $compute (i32.const 100000000)) {then}"))
        .replace("(call $read_all (i32.const 1))", "");
    let limits = Limits { deadline: TIMEOUT, ..Limits::default() };
    limited_guest(limits, BUFFER_REQUEST | BUFFER_RESPONSE, &format!("{COMPUTE}{text}"))
}

/// A function that computes for about `$rounds` nanoseconds.
pub(crate) const COMPUTE: &str = "(func $compute (param $rounds i32)
    (loop $more
        (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
        (br_if $more (local.get $rounds))))";

const LEDGER: &str = r#"
        (global $begun (mut i32) (i32.const 0))
        (global $ended (mut i32) (i32.const 0))
        (global $errors (mut i32) (i32.const 0))
        (func $read_all (param $kind i32)
            (loop $more
                (br_if $more (i64.eqz (i64.shr_u
                    (call $read_body (local.get $kind) (global.get $buf) (i32.const 100)) (i64.const 32))))))
        (func (export "handle_request") (result i64)
            (if (i32.eq (call $get_uri (global.get $buf) (i32.const 100)) (i32.const 7))
                (then
                    (i32.store (global.get $buf) (global.get $begun))
                    (i32.store offset=4 (global.get $buf) (global.get $ended))
                    (i32.store offset=8 (global.get $buf) (global.get $errors))
                    (call $write_body (i32.const 1) (global.get $buf) (i32.const 12))
                    (return (i64.const 1))))
            (call $read_all (i32.const 0))
            (global.set $begun (i32.add (global.get $begun) (i32.const 1)))
            (i64.const 0x2a_0000_0001))
        (func (export "handle_response") (param $ctx i32) (param $is_error i32)
            (if (i32.ne (local.get $ctx) (i32.const 42)) (then (return)))
            (global.set $ended (i32.add (global.get $ended) (i32.const 1)))
            (global.set $errors (i32.add (global.get $errors) (local.get $is_error)))
            (if (i32.eqz (local.get $is_error)) (then (call $read_all (i32.const 1)))))"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) begun: u32,
    pub(crate) ended: u32,
    pub(crate) errors: u32,
}

/// The ledgers of all idle instances, fetched with concurrent requests so that each gets a different instance.
pub(crate) async fn ledgers(guest: &Guest) -> Vec<Ledger> {
    let all = guest.stats().idle as usize;
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(all));
    let service = HttpWasmLayer::new(guest.clone()).layer(tower::service_fn(move |_: Request<Body>| {
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    }));
    let requests = (0..all).map(|_| async {
        let request = Request::post("/ledger").body(Body::empty()).expect("a legal request");
        let body = collect(service.clone().oneshot(request).await.expect("it can't fail").into_body()).await;
        let numbers: Vec<_> =
            body.chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().expect("four"))).collect();
        Ledger { begun: numbers[0], ended: numbers[1], errors: numbers[2] }
    });
    soon(futures_util::future::join_all(requests)).await
}

/// Waits until every instance is idle, and there are `count` of them.
pub(crate) async fn idle(guest: &Guest, count: u64) {
    reaches(guest, "all its instances idle, and as many as expected", |stats| {
        (stats.idle, stats.live) == (count, count)
    })
    .await;
}

/// Waits until every instance is idle, however many there are.
pub(crate) async fn all_idle(guest: &Guest) {
    reaches(guest, "all its instances idle", |stats| stats.idle == stats.live).await;
}

/// Waits until the statistics of the guest's pool satisfy `holds`.
pub(crate) async fn reaches(guest: &Guest, what: &str, holds: impl Fn(&PoolStats) -> bool) {
    let wait = async {
        while !holds(&guest.stats()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(TIMEOUT, wait).await.is_err() {
        panic!("the guest does not have {what}: {:?}", guest.stats());
    }
}
