//! Uploads that are redacted while they are sent, wherever they are split.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Channel, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use super::events::{Random, SECRET, events};
use super::splits::decoded;
use super::upstream::gzip;
use super::{gateway, guests};
use crate::support::{http1, http2, soon};

/// An upstream that sends back what it receives, with its coding in `x-coding`. Returns the address.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service_fn(async |request: Request<Incoming>| {
                let (head, body) = request.into_parts();
                let mut response = Response::new(Full::new(body.collect().await?.to_bytes()));
                if let Some(coding) = head.headers.get("content-encoding") {
                    response.headers_mut().insert("x-coding", coding.clone());
                }
                Ok::<_, hyper::Error>(response)
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                server.serve_connection(TokioIo::new(socket), service).await.ok()
            });
        }
    });
    addr
}

/// Splits a body at random: often after a few bytes, sometimes after many.
fn split(mut body: Bytes, random: &mut Random) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while !body.is_empty() {
        let bits = random.below(15);
        pieces.push(body.split_to(body.len().min(1 + random.below(1 << bits))));
    }
    pieces
}

/// Sends these pieces on a new connection. Returns the body, decoded, as it reaches the upstream, and whether it was
/// coded.
async fn upload(addr: SocketAddr, pieces: Vec<Bytes>, is_gzip: bool, is_http2: bool) -> (String, bool) {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(async move {
        for piece in pieces {
            sender.send_data(piece).await.ok()?;
        }
        Some(())
    });
    let uri = if is_http2 { format!("http://{addr}/") } else { "/".to_owned() };
    let mut request = Request::post(uri).header("content-type", "application/json");
    if !is_http2 {
        request = request.header("host", addr.to_string());
    }
    if is_gzip {
        request = request.header("content-encoding", "gzip");
    }
    let request = request.body(body.boxed_unsync()).expect("a request of ours is valid");
    let response = match is_http2 {
        true => soon(http2(addr).await.send_request(request)).await,
        false => soon(http1(addr).await.send_request(request)).await,
    };
    let response = response.expect("a response");
    assert_eq!(response.status(), 200);
    let is_coded = response.headers().contains_key("x-coding");
    let body = soon(response.into_body().collect()).await.expect("a whole response");
    (decoded(&body.to_bytes(), is_coded), is_coded)
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_split_at_random_are_redacted_as_whole_bodies_are() {
    let upstream = echo().await;
    for guest in guests() {
        let [streams, holds] = [true, false].map(|streams| gateway(&guest, upstream, streams));
        for (round, size) in (0..60).flat_map(|round| [0, 1, 300, 5_000, 70_000].map(|size| (round, size))) {
            let mut random = Random::new(round * 11 + size as u64);
            let (is_gzip, is_http2) = (round % 2 == 1, round % 3 == 0);
            let (sent, expected) = events(round * 7 + size as u64, 0, size);
            let sent = sent.concat().into_bytes();
            let body = Bytes::from(if is_gzip { gzip(&sent).expect("memory takes all") } else { sent });
            let pieces = split(body.clone(), &mut random);
            let (received, is_coded) = upload(streams.addr, pieces, is_gzip, is_http2).await;
            let what = format!("{}: round {round}, {size} bytes", guest.display());
            assert!(received == expected, "{what}:\n{received}\n---\n{expected}");
            assert!(!received.contains(SECRET), "{what}");
            // The guest writes nothing of an empty body.
            assert!(!is_coded || size == 0, "{what}");
            if round < 10 {
                let (whole, _) = upload(holds.addr, vec![body], is_gzip, is_http2).await;
                assert!(whole == expected, "held: {what}");
            }
        }
    }
}
