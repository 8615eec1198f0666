//! Bodies, byte for byte: sizes around a buffer's size, in small and large steps, buffered or not, with each framing.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_wasm_tower::{Body, Guest, Limits};
use tower::service_fn;

use crate::guests::*;
use crate::support::*;

const SIZES: [usize; 7] = [0, 1, 4095, 4096, 4097, 65_537, 5_000_000];
const STEPS: [u32; 3] = [64, 2048, 1024 * 1024];

/// Reads a body of `KIND` to its end in steps of `STEP`, and counts the bytes. Traps on a short read without EOF.
const READ_ALL: &str = r#"
    (local $read i64) (local $len i32) (local $total i32)
    (loop $more
        (local.set $read (call $read_body (i32.const KIND) (global.get $buf) (i32.const STEP)))
        (local.set $len (i32.wrap_i64 (local.get $read)))
        (local.set $total (i32.add (local.get $total) (local.get $len)))
        EACH
        (if (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))
            (then
                (if (i32.ne (local.get $len) (i32.const STEP)) (then unreachable))
                (br $more))))
    (i32.store (global.get $buf) (local.get $total))
    AFTER"#;

/// Inverts the lowest bit of each byte that was read, and writes the result.
const REWRITE: &str = r#"
    (local.set $at (global.get $buf))
    (block $done (loop $next
        (br_if $done (i32.eq (local.get $at) (i32.add (global.get $buf) (local.get $len))))
        (i32.store8 (local.get $at) (i32.xor (i32.load8_u (local.get $at)) (i32.const 1)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (call $write_body (i32.const KIND) (global.get $buf) (local.get $len))"#;

#[derive(Clone, Copy, PartialEq)]
enum BodyAccess {
    Reads,
    Rewrites,
}

/// A guest that may make a hundred thousand calls on a busy machine.
fn patient(features: u32, text: &str) -> Guest {
    limited_guest(Limits { deadline: Duration::from_secs(60), ..Limits::default() }, features, text)
}

fn request_guest(access: BodyAccess, step: u32, features: u32) -> Guest {
    let code = READ_ALL.replace("EACH", if access == BodyAccess::Rewrites { REWRITE } else { "" });
    let code = code.replace("AFTER", "").replace("KIND", "0").replace("STEP", &step.to_string());
    patient(
        features,
        &format!(r#"(func (export "handle_request") (result i64) (local $at i32) {code} (i64.const 1))"#),
    )
}

fn response_guest(access: BodyAccess, step: u32, features: u32) -> Guest {
    let code = READ_ALL.replace("EACH", if access == BodyAccess::Rewrites { REWRITE } else { "" });
    let code = code.replace("AFTER", "").replace("KIND", "1").replace("STEP", &step.to_string());
    patient(features, &format!(r#"(func (export "handle_response") (param i32 i32) (local $at i32) {code})"#))
}

fn inverted(bytes: &Bytes) -> Bytes {
    bytes.iter().map(|byte| byte ^ 1).collect()
}

/// How a body's length is declared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length,
    Chunked,
}

fn framed(framing: Framing, bytes: &Bytes) -> Body {
    let bytes = bytes.clone();
    match framing {
        Framing::Length => bytes.into_body(),
        // In pieces of an odd size.
        Framing::Chunked => streamed(stream::unfold(bytes, |mut rest| async {
            (!rest.is_empty()).then(|| {
                let piece = rest.split_to(rest.len().min(30_011));
                (Ok(piece), rest)
            })
        })),
    }
}

/// Answers with the received body and its framing. Fails the test if a length is wrong.
async fn report(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = collect(body).await;
    let framing: Vec<_> = ["content-length", "transfer-encoding"]
        .into_iter()
        .flat_map(|name| head.headers.get_all(name))
        .map(|value| value.to_str().expect("a text"))
        .collect();
    let framing = framing.join(" ");
    let mut response = Response::new(body.into_body());
    response.headers_mut().insert("x-framing", framing.parse().expect("a legal value"));
    Ok(response)
}

/// Sends every size with every step, over HTTP/1.1 with a length and chunked, and over HTTP/2.
async fn each_way(guest: impl Fn(u32) -> Guest, check: impl Fn(&Bytes, Bytes, &str, Framing, bool, u32)) {
    for step in STEPS {
        let guest = guest(step);
        let addr = serve_guest(&guest, service_fn(report)).await;
        let [mut http1, mut http2] = Client::both(addr).await;
        for size in SIZES {
            let sent = noise(size);
            for framing in [Framing::Length, Framing::Chunked] {
                for (client, is_http1) in [(&mut http1, true), (&mut http2, false)] {
                    let request = Request::post("/").body(framed(framing, &sent)).unwrap();
                    let response = client.send(request).await;
                    assert_eq!(response.status(), 200, "{size} bytes by {step}");
                    let seen = header(&response, "x-framing").to_owned();
                    check(&sent, collect(response.into_body()).await, &seen, framing, is_http1, step);
                }
            }
        }
    }
}

fn same(sent: &Bytes, received: &Bytes) {
    // Not assert_eq, which would print megabytes.
    assert!(sent == received, "{} bytes became {} others", sent.len(), received.len());
}

#[tokio::test]
async fn with_buffer_request_the_next_handler_gets_the_whole_request_in_its_old_framing() {
    each_way(
        |step| request_guest(BodyAccess::Reads, step, BUFFER_REQUEST),
        |sent, received, seen, framing, is_http1, _| {
            same(sent, &received);
            match framing {
                // A client may send an empty body without a length.
                Framing::Length if sent.is_empty() => assert!(["", "0"].contains(&seen)),
                Framing::Length => assert_eq!(seen, sent.len().to_string()),
                Framing::Chunked => assert_eq!(seen, if is_http1 { "chunked" } else { "" }),
            }
        },
    )
    .await;
}

#[tokio::test]
async fn without_buffer_request_what_the_guest_reads_is_consumed() {
    each_way(
        |step| request_guest(BodyAccess::Reads, step, NO_FEATURES),
        |sent, received, seen, framing, is_http1, _| {
            same(&Bytes::new(), &received);
            match (sent.is_empty(), framing) {
                // Nothing was consumed.
                (true, Framing::Chunked) => assert_eq!(seen, if is_http1 { "chunked" } else { "" }),
                (true, Framing::Length) => assert!(["", "0"].contains(&seen)),
                (false, _) => assert_eq!(seen, "0"),
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_request_that_is_rewritten_while_it_is_read_has_the_new_length() {
    for features in [NO_FEATURES, BUFFER_REQUEST] {
        each_way(
            |step| request_guest(BodyAccess::Rewrites, step, features),
            |sent, received, seen, _, _, _| {
                same(&inverted(sent), &received);
                if !sent.is_empty() {
                    assert_eq!(seen, sent.len().to_string());
                }
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_partially_read_request_reaches_the_next_handler_whole_or_from_there_on() {
    for (features, from) in [(BUFFER_REQUEST, 0), (NO_FEATURES, 1000)] {
        let guest =
            around(features, "(drop (call $read_body (i32.const 0) (global.get $buf) (i32.const 1000)))", "");
        let addr = serve_guest(&guest, service_fn(report)).await;
        let [mut http1, mut http2] = Client::both(addr).await;
        for size in SIZES {
            let sent = noise(size);
            for framing in [Framing::Length, Framing::Chunked] {
                for client in [&mut http1, &mut http2] {
                    let request = Request::post("/").body(framed(framing, &sent)).unwrap();
                    let response = client.send(request).await;
                    let seen = header(&response, "x-framing").to_owned();
                    let received = collect(response.into_body()).await;
                    let left = sent.slice(from.min(size)..);
                    same(&left, &received);
                    if framing == Framing::Length && size > 0 {
                        assert_eq!(seen, left.len().to_string());
                    }
                }
            }
        }
    }
}

/// Answers `/size` with this many bytes, of known length for GET, and in chunks otherwise.
async fn produce(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let size = request.uri().path()[1..].parse().expect("a number");
    let framing = if request.method() == "GET" { Framing::Length } else { Framing::Chunked };
    Ok(Response::new(framed(framing, &noise(size))))
}

async fn each_response(guest: impl Fn(u32) -> Guest, check: impl Fn(&Bytes, Bytes, &str, Framing)) {
    for step in STEPS {
        let addr = serve_guest(&guest(step), service_fn(produce)).await;
        for mut client in Client::both(addr).await {
            for size in SIZES {
                for (framing, method) in [(Framing::Length, "GET"), (Framing::Chunked, "POST")] {
                    let request = Request::builder().method(method).uri(format!("/{size}"));
                    let response = client.send(request.body(Body::empty()).unwrap()).await;
                    assert_eq!(response.status(), 200, "{size} bytes by {step}");
                    let length = header(&response, "content-length").to_owned();
                    check(&noise(size), collect(response.into_body()).await, &length, framing);
                }
            }
        }
    }
}

#[tokio::test]
async fn with_buffer_response_the_client_gets_the_whole_response_in_its_old_framing() {
    each_response(
        |step| response_guest(BodyAccess::Reads, step, BUFFER_RESPONSE),
        |produced, received, length, framing| {
            same(produced, &received);
            match framing {
                _ if produced.is_empty() => assert!(length.is_empty() || length == "0"),
                Framing::Length => assert_eq!(length, produced.len().to_string()),
                // A body that was read to its end before the head is sent may have a length by now.
                Framing::Chunked => assert!(length.is_empty() || length == produced.len().to_string()),
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_response_that_is_rewritten_while_it_is_read_has_the_new_length() {
    each_response(
        |step| response_guest(BodyAccess::Rewrites, step, BUFFER_RESPONSE),
        |produced, received, length, _| {
            same(&inverted(produced), &received);
            if !produced.is_empty() {
                assert_eq!(length, produced.len().to_string());
            }
        },
    )
    .await;
}

#[tokio::test]
async fn without_buffer_response_reading_the_response_is_refused_and_passing_it_works() {
    let guest = response_guest(BodyAccess::Reads, 64, NO_FEATURES);
    let response = call(&guest, service_fn(produce), get("/4096")).await;
    assert_eq!(response.status(), 500);
    let guest = around(NO_FEATURES, "", "");
    for size in SIZES {
        let response = call(&guest, service_fn(produce), get(&format!("/{size}"))).await;
        same(&noise(size), &collect(response.into_body()).await);
    }
}

#[tokio::test]
async fn bytes_written_before_the_next_handler_come_first() {
    let guest = around(NO_FEATURES, "(call $write_body (i32.const 1) {first, })", "");
    let addr = serve_guest(&guest, service_fn(hello)).await;
    for mut client in Client::both(addr).await {
        let response = client.send(get("/")).await;
        assert_eq!(header(&response, "content-length"), "12");
        assert_eq!(text(response.into_body()).await, "first, hello");
    }
}
