//! A stream gives the same result as a complete body, wherever it is split.

use std::io::Read as _;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};

use super::events::{SECRET, events};
use super::upstream::{self, Answer};
use super::{gateway, guests};
use crate::support::{http1, http2, soon};

/// Sends a GET request on a new connection.
pub(super) async fn get(
    addr: SocketAddr,
    path: &str,
    is_http2: bool,
    fields: &[(&str, &str)],
) -> Response<Incoming> {
    let uri = if is_http2 { format!("http://{addr}{path}") } else { path.to_owned() };
    let mut request = Request::get(uri);
    if !is_http2 {
        request = request.header("host", addr.to_string());
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::new().boxed_unsync()).expect("a request of ours is valid");
    let response = match is_http2 {
        true => http2(addr).await.send_request(request).await,
        false => http1(addr).await.send_request(request).await,
    };
    response.expect("a response")
}

/// The body of the response, decoded.
pub(super) async fn fetch(addr: SocketAddr, path: &str, is_http2: bool, accepts_gzip: bool) -> String {
    let fields: &[_] = if accepts_gzip { &[("accept-encoding", "gzip")] } else { &[] };
    let response = get(addr, path, is_http2, fields).await;
    assert_eq!(response.status(), 200);
    let is_gzip = response.headers().get("content-encoding").is_some_and(|coding| coding == "gzip");
    assert!(accepts_gzip || !is_gzip, "the client doesn't accept gzip");
    let body = soon(response.into_body().collect()).await.expect("a whole response").to_bytes();
    decoded(&body, is_gzip)
}

pub(super) fn decoded(body: &Bytes, is_gzip: bool) -> String {
    let mut text = String::new();
    match is_gzip {
        true => flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).expect("whole gzip"),
        false => (&body[..]).read_to_string(&mut text).expect("text"),
    };
    text
}

/// The events that a path requests with a seed, a size and a coding, split at random.
pub(super) fn requested(head: &str) -> Answer {
    let mut parts = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').split('/');
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let (seed, size, gzip) = (number(), number(), number());
    let body = events(seed, 0, size as usize).0.concat().into_bytes();
    Answer { body, is_gzip: gzip > 0 && head.contains("gzip"), seed: Some(seed) }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_split_at_random_are_redacted_as_whole_bodies_are() {
    let upstream = upstream::start(requested).await;
    for guest in guests() {
        let [streams, holds] = [true, false].map(|streams| gateway(&guest, upstream, streams));
        for (round, size) in (0..60).flat_map(|round| [0, 1, 300, 5_000, 70_000].map(|size| (round, size))) {
            let (seed, is_gzip) = (round * 7 + size as u64, round % 2);
            let path = format!("/{seed}/{size}/{is_gzip}");
            let (is_http2, accepts_gzip) = (round % 3 == 0, round % 4 < 2);
            let (_, expected) = events(seed, 0, size);
            let streamed = fetch(streams.addr, &path, is_http2, accepts_gzip).await;
            assert!(streamed == expected, "{}: {path}:\n{streamed}\n---\n{expected}", guest.display());
            assert!(!streamed.contains(SECRET));
            if round < 10 {
                assert!(fetch(holds.addr, &path, is_http2, accepts_gzip).await == expected, "held: {path}");
            }
        }
    }
}
