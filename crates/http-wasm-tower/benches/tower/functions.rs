//! The cost of each host function, measured with entire requests: a service with small guests that call one function
//! once, compared with the same service without a guest.

use bytes::Bytes;
use criterion::Criterion;
use http::{HeaderValue, Request};
use http_body_util::Full;
use http_wasm_tower::{Engine, HttpWasmLayer};
use tower::{Layer, service_fn};

use super::{BATCH, call, hello, load};

/// The imports of a guest, and what it does with a request.
struct Case {
    name: &'static str,
    imports: &'static str,
    handle_request: &'static str,
    request: fn() -> Request<Full<Bytes>>,
}

const GET_URI: &str = r#"(import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))"#;
const SET_URI: &str = r#"(import "http_handler" "set_uri" (func $set_uri (param i32 i32)))"#;
const NAMES: &str =
    r#"(import "http_handler" "get_header_names" (func $names (param i32 i32 i32) (result i64)))"#;
const VALUES: &str =
    r#"(import "http_handler" "get_header_values" (func $values (param i32 i32 i32 i32 i32) (result i64)))"#;
const SET: &str = r#"(import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))"#;
const ADD: &str = r#"(import "http_handler" "add_header_value" (func $add (param i32 i32 i32 i32 i32)))"#;
const REMOVE: &str = r#"(import "http_handler" "remove_header" (func $remove (param i32 i32 i32)))"#;
const READ: &str = r#"(import "http_handler" "read_body" (func $read (param i32 i32 i32) (result i64)))"#;
const WRITE: &str = r#"(import "http_handler" "write_body" (func $write (param i32 i32 i32)))"#;
const STATUS: &str = r#"(import "http_handler" "set_status_code" (func $status (param i32)))"#;
const LOG: &str = r#"(import "http_handler" "log" (func $log (param i32 i32 i32)))"#;

/// The strings that the guests use.
const DATA: &str = r#"
    (memory (export "memory") 1)
    (data (i32.const 0) "hello world") (data (i32.const 16) "/v1.0/hello") (data (i32.const 32) "accept")
    (data (i32.const 48) "content-type") (data (i32.const 64) "text/plain") (data (i32.const 80) "/host")"#;

const READ_ALL: &str = r#"
    (loop $more
      (br_if $more (i64.eqz
        (i64.shr_u (call $read (i32.const 0) (i32.const 1024) (i32.const 2048)) (i64.const 32)))))
    i64.const 1"#;

/// Forwards `/host…` with another path, and answers everything else.
const ROUTE: &str = r#"
    (if (result i64)
      (i32.and
        (i32.ge_u (call $get_uri (i32.const 1024) (i32.const 256)) (i32.const 5))
        (i32.eq (i32.load (i32.const 1024)) (i32.load (i32.const 80))))
      (then (call $set_uri (i32.const 16) (i32.const 11)) i64.const 1)
      (else
        (call $set (i32.const 1) (i32.const 48) (i32.const 12) (i32.const 64) (i32.const 10))
        (call $write (i32.const 1) (i32.const 0) (i32.const 11))
        i64.const 0))"#;

const CASES: [Case; 19] = [
    Case { name: "none", imports: "", handle_request: "i64.const 1", request: get },
    Case {
        name: "log",
        imports: LOG,
        handle_request: "(call $log (i32.const 0) (i32.const 0) (i32.const 11)) i64.const 1",
        request: get,
    },
    Case {
        name: "get_uri",
        imports: GET_URI,
        handle_request: "(drop (call $get_uri (i32.const 1024) (i32.const 64))) i64.const 1",
        request: get,
    },
    Case {
        name: "set_uri",
        imports: SET_URI,
        handle_request: "(call $set_uri (i32.const 16) (i32.const 11)) i64.const 1",
        request: get,
    },
    Case { name: "get_header_names of 0", imports: NAMES, handle_request: LIST, request: bare },
    Case { name: "get_header_names of 1", imports: NAMES, handle_request: LIST, request: get },
    Case {
        name: "get_header_names beside a long value",
        imports: NAMES,
        handle_request: LIST,
        request: long,
    },
    Case { name: "get_header_values, there", imports: VALUES, handle_request: LOOK_UP, request: get },
    Case { name: "get_header_values, not there", imports: VALUES, handle_request: LOOK_UP, request: bare },
    Case {
        name: "set_header_value",
        imports: SET,
        handle_request: "(call $set (i32.const 1) (i32.const 48) (i32.const 12) \
            (i32.const 64) (i32.const 10)) i64.const 1",
        request: get,
    },
    Case {
        name: "add_header_value",
        imports: ADD,
        handle_request: "(call $add (i32.const 1) (i32.const 48) (i32.const 12) \
            (i32.const 64) (i32.const 10)) i64.const 1",
        request: get,
    },
    Case {
        name: "remove_header",
        imports: REMOVE,
        handle_request: "(call $remove (i32.const 0) (i32.const 32) (i32.const 6)) i64.const 1",
        request: get,
    },
    Case {
        name: "read_body, 11 bytes in one",
        imports: READ,
        handle_request: "(drop (call $read (i32.const 0) (i32.const 1024) (i32.const 2048))) i64.const 1",
        request: post,
    },
    Case { name: "read_body, 11 bytes to the end", imports: READ, handle_request: READ_ALL, request: post },
    Case { name: "read_body, 4 KiB to the end", imports: READ, handle_request: READ_ALL, request: post_more },
    Case {
        name: "write_body",
        imports: WRITE,
        handle_request: "(call $write (i32.const 1) (i32.const 0) (i32.const 11)) i64.const 0",
        request: get,
    },
    Case {
        name: "set_status_code",
        imports: STATUS,
        handle_request: "(call $status (i32.const 404)) i64.const 0",
        request: get,
    },
    Case { name: "a router that answers", imports: ROUTER, handle_request: ROUTE, request: get },
    Case { name: "a router that passes on", imports: ROUTER, handle_request: ROUTE, request: get_host },
];

const LIST: &str = "(drop (call $names (i32.const 0) (i32.const 1024) (i32.const 1024))) i64.const 1";

const LOOK_UP: &str = "(drop (call $values
    (i32.const 0) (i32.const 32) (i32.const 6) (i32.const 1024) (i32.const 64))) i64.const 1";

const ROUTER: &str = r#"
    (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
    (import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
    (import "http_handler" "set_header_value" (func $set (param i32 i32 i32 i32 i32)))
    (import "http_handler" "write_body" (func $write (param i32 i32 i32)))"#;

pub(crate) fn suite(c: &mut Criterion, engine: &Engine) {
    let mut group = c.benchmark_group("tower/functions");
    group.bench_function("no middleware", |b| {
        b.iter_batched(get, |request| call(service_fn(hello), request), BATCH);
    });
    for Case { name, imports, handle_request, request } in CASES {
        let wat = format!(
            r#"(module {imports} {DATA}
            (func (export "handle_request") (result i64) {handle_request})
            (func (export "handle_response") (param i32 i32)))"#
        );
        let mut service = HttpWasmLayer::new(load(engine, &wat)).layer(service_fn(hello));
        group.bench_function(name, |b| b.iter_batched(request, |request| call(&mut service, request), BATCH));
    }
    group.finish();
}

fn get() -> Request<Full<Bytes>> {
    to("/v1.0/hi", b"")
}

fn get_host() -> Request<Full<Bytes>> {
    to("/host/hi", b"")
}

fn bare() -> Request<Full<Bytes>> {
    let mut request = get();
    request.headers_mut().clear();
    request
}

fn long() -> Request<Full<Bytes>> {
    let mut request = get();
    request.headers_mut().insert("data", HeaderValue::from_static(str::from_utf8(&LONG).unwrap_or_default()));
    request
}

fn post() -> Request<Full<Bytes>> {
    to("/", b"hello world")
}

fn post_more() -> Request<Full<Bytes>> {
    to("/", &LONG)
}

static LONG: [u8; 4096] = [b'a'; 4096];

fn to(path: &'static str, body: &'static [u8]) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from_static(body)));
    *request.uri_mut() = http::Uri::from_static(path);
    request.headers_mut().insert("accept", HeaderValue::from_static("*/*"));
    request
}
