//! Guests, requests, and the steps of an exchange as adapters perform them.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{HeaderValue, Request, Response};
use http_wasm_host::{Body, Engine, Guest, HttpHost, Limits, Outcome, Pinned, PoolSettings, Progress};

const IMPORTS: &str = include_str!("imports.wat");

/// A guest that lets requests proceed and does nothing in either phase.
pub(crate) const EMPTY: &str = r#"
    (func (export "handle_request") (result i64) i64.const 1)
    (func (export "handle_response") (param i32 i32))"#;

/// One host call, and an empty `handle_response`.
pub(crate) const ONE_CALL: &str = r#"
    (func (export "handle_request") (result i64) (drop (call $get_status_code)) i64.const 1)
    (func (export "handle_response") (param i32 i32))"#;

/// A complete module: the fields in `body`, the imports that it calls, since unused imports would slow down a guest,
/// and a memory of two pages unless `body` has one.
pub(crate) fn module(body: &str) -> String {
    let is_called = |line: &&str| {
        let name = line.split("(func $").nth(1).and_then(|rest| rest.split(' ').next());
        name.is_some_and(|name| body.split([' ', '\n', ')']).any(|word| word.strip_prefix('$') == Some(name)))
    };
    let imports: Vec<_> = IMPORTS.lines().filter(is_called).collect();
    let memory = if body.contains("(memory ") { "" } else { "(memory (export \"memory\") 2)" };
    format!("(module {}\n{memory}\n{body})", imports.join("\n"))
}

/// Loads the guest with this `body`, and limits that are high enough for the benchmarks.
pub(crate) fn load(engine: &Engine, body: &str) -> Guest<HttpHost> {
    load_with(engine, body, PoolSettings::default())
}

/// The same with settings for its pool.
pub(crate) fn load_with(engine: &Engine, body: &str, pool: PoolSettings) -> Guest<HttpHost> {
    let limits = Limits {
        replay_bytes: 256 << 20,
        written_bytes: 256 << 20,
        header_count: 100_000,
        ..Limits::default()
    };
    let builder = Guest::<HttpHost>::builder(engine).limits(limits).config([b'c'; 64]).pool(pool);
    builder.load(module(body).as_bytes()).expect("a valid guest")
}

pub(crate) fn engine() -> Engine {
    Engine::new().expect("this machine runs WebAssembly")
}

/// A request with `fields` headers.
pub(crate) fn request(fields: &[(&'static str, &'static str)], body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    for &(name, value) in fields {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

/// The headers of a small request.
pub(crate) const FIELDS: [(&str, &str); 3] =
    [("accept", "*/*"), ("user-agent", "bench"), ("x-request-id", "0123456789abcdef")];

/// Polls a future that never waits for anything external.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// The result of a call, as adapters get it: without a poll if it is there.
#[inline]
pub(crate) fn result<T>(progress: Progress<T>) -> T {
    progress.done().unwrap_or_else(now)
}

/// The first phase of a guest that proceeds.
pub(crate) fn first_phase(guest: &Guest<HttpHost>, request: Request<Body>) -> Pinned<HttpHost> {
    match result(guest.handle_request(HttpHost::new(request, None))).expect("the guest doesn't fail") {
        Outcome::Next(pinned) => pinned,
        _ => panic!("the guest proceeds"),
    }
}

/// Passes one request through a guest, as an adapter does. `next` is the next handler.
pub(crate) fn exchange(
    guest: &Guest<HttpHost>,
    request: Request<Body>,
    next: impl FnOnce(Request<Body>) -> Response<Body>,
) -> Response<Body> {
    let mut pinned = first_phase(guest, request);
    let keep_head = pinned.reads_request();
    let request = pinned.host_mut().take_request(keep_head);
    pinned.host_mut().set_response(next(request));
    result(pinned.handle_response()).expect("the guest doesn't fail").host.into_response()
}

/// A next handler that ignores the request.
pub(crate) fn answer(request: Request<Body>) -> Response<Body> {
    black_box(request);
    Response::new(Body::empty())
}
