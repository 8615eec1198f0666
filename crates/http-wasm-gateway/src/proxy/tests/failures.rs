//! Upstreams that fail: which requests are retried, and which aren't.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Channel, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{proxy, request, soon};
use crate::body::{BoxBody, BoxError, boxed, empty};
use crate::config::{Time, Upstream};
use crate::proxy::Proxy;

/// A server that answers each request with 200 and the request's body, until it is dropped.
struct Answers {
    addr: SocketAddr,
    requests: Arc<AtomicUsize>,
    healthy: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Answers {
    async fn start() -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn at(listener: TcpListener) -> Self {
        let addr = listener.local_addr().unwrap();
        let (requests, healthy) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let mut tasks = JoinSet::new();
        let state = (requests.clone(), healthy.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = state.clone();
                connections.spawn(serve(stream, state));
            }
        });
        Self { addr, requests, healthy, _tasks: tasks }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn serve(stream: TcpStream, (requests, healthy): (Arc<AtomicUsize>, Arc<AtomicBool>)) {
    let service = service_fn(async |request: Request<Incoming>| {
        let status = match request.uri().path() {
            "/healthz" if healthy.load(Ordering::Relaxed) => StatusCode::OK,
            "/healthz" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => {
                requests.fetch_add(1, Ordering::Relaxed);
                StatusCode::OK
            }
        };
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A server that reads a request with a body of this many bytes, sends `answer`, and closes the connection, repeatedly.
async fn breaks(body: usize, answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            let end = |read: &[u8]| read.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4);
            while end(&read).is_none_or(|head| read.len() < head + body) {
                if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            count.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (addr, requests)
}

/// An address without a listener.
async fn unused_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn status(proxy: &Proxy, method: &str, body: BoxBody) -> u16 {
    soon(proxy.respond(&mut request(method, body))).await.status().as_u16()
}

#[tokio::test]
async fn an_idempotent_request_on_a_broken_connection_is_retried_at_another_address() {
    for method in ["GET", "DELETE", "OPTIONS"] {
        let (bad, broken) = breaks(0, "").await;
        let good = Answers::start().await;
        let proxy = proxy(&[bad, good.addr], Upstream::default());
        assert_eq!(status(&proxy, method, empty()).await, 200, "{method}");
        assert_eq!((broken.load(Ordering::Relaxed), good.requests()), (1, 1), "{method}");
    }
}

#[tokio::test]
async fn a_non_idempotent_request_is_retried_only_if_it_was_not_sent() {
    let (bad, broken) = breaks(4, "").await;
    let good = Answers::start().await;
    let seen = proxy(&[bad, good.addr], Upstream::default());
    assert_eq!(status(&seen, "POST", boxed(Full::from("body"))).await, 502);
    assert_eq!((broken.load(Ordering::Relaxed), good.requests()), (1, 0));

    let unseen = proxy(&[unused_address().await, good.addr], Upstream::default());
    let response = soon(unseen.respond(&mut request("POST", boxed(Full::from("body"))))).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "body");
}

#[tokio::test]
async fn a_retry_sends_the_body_again_from_its_start() {
    let (bad, broken) = breaks(5, "").await;
    let good = Answers::start().await;
    let proxy = proxy(&[bad, good.addr], Upstream::default());
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let mut upload = request("PUT", boxed(body));
    let answer = proxy.respond(&mut upload);
    let send = async {
        // As a chunk, this is longer than the five bytes that the first address waits for.
        sender.send_data("first ".into()).await.unwrap();
        while good.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sender.send_data("second".into()).await.unwrap();
        drop(sender);
    };
    let (response, ()) = soon(async { tokio::join!(answer, send) }).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "first second");
    assert_eq!((broken.load(Ordering::Relaxed), good.requests()), (1, 1));
}

#[tokio::test]
async fn there_are_no_retries_after_the_response_started_or_if_disabled() {
    let (bad, _) = breaks(0, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    let good = Answers::start().await;
    let begun = proxy(&[bad, good.addr], Upstream::default());
    let response = soon(begun.respond(&mut request("GET", empty()))).await;
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err(), "the client learns that the answer is not whole");
    assert_eq!(good.requests(), 0);

    let (bad, _) = breaks(0, "").await;
    let never = proxy(&[bad, good.addr], Upstream { retries: 0, ..Upstream::default() });
    assert_eq!(status(&never, "GET", empty()).await, 502);
    assert_eq!(good.requests(), 0);
}

#[tokio::test]
async fn retries_are_limited_when_too_many_requests_fail() {
    let ((a, broken_a), (b, broken_b)) = (breaks(0, "").await, breaks(0, "").await);
    let proxy = proxy(&[a, b], Upstream { retries: 1, ..Upstream::default() });
    let count = 150;
    for _ in 0..count {
        assert_eq!(status(&proxy, "GET", empty()).await, 502);
    }
    let sent = broken_a.load(Ordering::Relaxed) + broken_b.load(Ordering::Relaxed);
    assert!(sent > count && sent < 2 * count, "{sent} of at most {}", 2 * count);
}

#[tokio::test]
async fn a_response_timeout_is_not_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = Answers::start().await;
    let settings = Upstream { response_timeout: Time(Duration::from_millis(50)), ..Upstream::default() };
    let proxy = proxy(&[listener.local_addr().unwrap(), good.addr], settings);
    assert_eq!(status(&proxy, "GET", empty()).await, 504);
    assert_eq!(good.requests(), 0);
}

#[tokio::test]
async fn an_address_gets_no_requests_while_its_health_check_fails() {
    let (a, b) = (Answers::start().await, Answers::start().await);
    a.healthy.store(false, Ordering::Relaxed);
    let mut settings = Upstream::default();
    settings.health.active = Some(crate::config::ActiveHealth {
        path: "/healthz".to_owned().into(),
        interval: Time(Duration::from_millis(5)),
        ..Default::default()
    });
    let proxy = proxy(&[a.addr, b.addr], settings);
    let is_up = async |expected: bool| {
        soon(async {
            while proxy.servers.iter().next().unwrap().health.is_up() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    };
    is_up(false).await;
    let before = a.requests();
    for _ in 0..4 {
        assert_eq!(status(&proxy, "GET", empty()).await, 200);
    }
    assert_eq!((a.requests() - before, b.requests()), (0, 4));
    a.healthy.store(true, Ordering::Relaxed);
    is_up(true).await;
    for _ in 0..4 {
        assert_eq!(status(&proxy, "GET", empty()).await, 200);
    }
    assert_eq!(a.requests() - before, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_of_two_servers_survives_losing_and_regaining_one_under_load() {
    let (stays, goes) = (Answers::start().await, Answers::start().await);
    let addr = goes.addr;
    let proxy = Arc::new(proxy(&[stays.addr, addr], Upstream::default()));
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (proxy, stop, answered) = (proxy.clone(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let response = proxy.respond(&mut request("GET", empty())).await;
                    assert_eq!(response.status(), 200, "no request that can be sent again fails");
                    response.into_body().collect().await.expect("the answer is whole");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more = async |count: usize| {
        let seen = answered.load(Ordering::Relaxed);
        soon(async {
            while answered.load(Ordering::Relaxed) < seen + count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    };
    more(500).await;
    assert!(goes.requests() > 0);
    drop(goes);
    more(500).await;
    let listener = soon(async {
        loop {
            if let Ok(listener) = TcpListener::bind(addr).await {
                return listener;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let back = Answers::at(listener);
    more(500).await;
    stop.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }
    drop(back);
}
