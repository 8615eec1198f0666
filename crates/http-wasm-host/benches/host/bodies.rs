//! Bodies in both directions: untouched by the guest, read and kept, and rewritten.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, SamplingMode, Throughput};
use futures_util::stream;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::StreamBody;
use http_wasm_host::{Body, BodyKind};

use crate::support::{EMPTY, FIELDS, engine, exchange, load, request};

const KIB: usize = 1024;
const SIZES: [(&str, usize); 5] = [
    ("1 KiB", KIB),
    ("64 KiB", 64 * KIB),
    ("1 MiB", KIB * KIB),
    ("16 MiB", 16 * KIB * KIB),
    ("64 MiB", 64 * KIB * KIB),
];

/// Roughly the size of a server's read from its socket.
const PIECE: usize = 16 * KIB;
static BYTES: [u8; PIECE] = [b'x'; PIECE];

/// How much a guest reads in one call.
const BUFFER: usize = 64 * KIB;

/// How much a guest reads that was built with the Rust library.
const STEP: usize = 2 * KIB;

/// Reads a body of `{kind}` to the end, at most `{step}` bytes at a time, and runs `{write}` on each piece.
const LOOP: &str = r#"
    (local $read i64)
    (loop $again
      (local.set $read (call $read_body (i32.const {kind}) (i32.const 65536) (i32.const {step})))
      {write}
      (br_if $again (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))))"#;
const WRITE: &str =
    "(call $write_body (i32.const {kind}) (i32.const 65536) (i32.wrap_i64 (local.get $read)))";

pub(crate) fn suite(c: &mut Criterion) {
    let engine = engine();
    for (direction, kind) in [("request", BodyKind::Request), ("response", BodyKind::Response)] {
        let reads = load(&engine, &reader(kind, "", BUFFER));
        let steps = load(&engine, &reader(kind, "", STEP));
        let rewrites = load(&engine, &reader(kind, WRITE, BUFFER));
        let untouched = load(&engine, EMPTY);
        for (label, size) in SIZES {
            let mut group = c.benchmark_group(format!("bodies/{direction}/{label}"));
            group.throughput(Throughput::Bytes(size as u64));
            group.sample_size(10).sampling_mode(SamplingMode::Flat);
            group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
            for (name, guest) in [
                ("untouched", &untouched),
                ("read", &reads),
                ("read in steps of 2 KiB", &steps),
                ("rewritten", &rewrites),
            ] {
                group.bench_function(name, |b| {
                    b.iter_custom(|iters| {
                        transfer(iters, kind, size, |request, next| exchange(guest, request, next))
                    });
                });
            }
            group.bench_function("no middleware", |b| {
                b.iter_custom(|iters| transfer(iters, kind, size, |request, next| next(request)));
            });
            group.bench_function("native copy", |b| {
                b.iter_custom(|iters| {
                    transfer(iters, kind, size, |request, next| copied(kind, request, next))
                });
            });
            group.finish();
        }
    }
}

/// A guest that reads the entire body of `kind` in its phase, at most `step` bytes at a time.
fn reader(kind: BodyKind, write: &str, step: usize) -> String {
    let (number, request, response) = match kind {
        BodyKind::Request => ("0", LOOP, ""),
        BodyKind::Response => ("1", "", LOOP),
    };
    format!(
        r#"
        (func (export "_initialize") (drop (call $enable_features (i32.const 3))))
        (func (export "handle_request") (result i64) {request} i64.const 1)
        (func (export "handle_response") (param i32 i32) {response})"#
    )
    .replace("{write}", write)
    .replace("{kind}", number)
    .replace("{step}", &step.to_string())
}

type Next<'a> = &'a dyn Fn(Request<Body>) -> Response<Body>;

/// The time of `iters` exchanges with a body of `size` bytes, which is received completely.
fn transfer(
    iters: u64,
    kind: BodyKind,
    size: usize,
    exchange: impl Fn(Request<Body>, Next<'_>) -> Response<Body>,
) -> Duration {
    let (sent, answered) = match kind {
        BodyKind::Request => (size, 0),
        BodyKind::Response => (0, size),
    };
    let mut taken = Duration::ZERO;
    for _ in 0..iters {
        let request = request(&FIELDS, streamed(sent));
        let start = Instant::now();
        let response = exchange(request, &|mut request| {
            assert_eq!(drain(request.body_mut(), |_| {}), sent);
            Response::new(streamed(answered))
        });
        assert_eq!(drain(&mut response.into_body(), |_| {}), answered);
        taken += start.elapsed();
    }
    taken
}

/// A native middleware that collects a body to inspect it, and passes on a copy.
fn copied(kind: BodyKind, mut request: Request<Body>, next: Next<'_>) -> Response<Body> {
    if kind == BodyKind::Request {
        *request.body_mut() = copy(request.body_mut());
    }
    let mut response = next(request);
    if kind == BodyKind::Response {
        *response.body_mut() = copy(response.body_mut());
    }
    response
}

fn copy(body: &mut Body) -> Body {
    let mut whole = BytesMut::with_capacity(BUFFER);
    drain(body, |piece| whole.extend_from_slice(piece));
    Body::from(whole.freeze())
}

/// A body in pieces, all of which are available.
fn streamed(size: usize) -> Body {
    if size == 0 {
        return Body::empty();
    }
    let pieces =
        (0..size.div_ceil(PIECE)).map(move |at| Bytes::from_static(&BYTES[..PIECE.min(size - at * PIECE)]));
    Body::new(StreamBody::new(stream::iter(pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece))))))
}

/// Receives the rest of a body. Returns its length.
fn drain(body: &mut Body, mut visit: impl FnMut(&[u8])) -> usize {
    let mut len = 0;
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(frame)) = pin!(&mut *body).poll_frame(&mut cx) {
        let data = frame.expect("the body doesn't fail").into_data().unwrap_or_default();
        visit(&data);
        len += black_box(data).len();
    }
    len
}
