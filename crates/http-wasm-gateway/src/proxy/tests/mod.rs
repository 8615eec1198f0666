//! Upstreams that behave well, and upstreams that don't.

mod failures;
mod http1;
mod http2;
mod peer;
mod versions;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Proxy;
use crate::backend::Backend;
use crate::body::{BoxBody, boxed, empty};
use crate::config::{ClientLimits, Located, NonEmpty, Upstream, UpstreamTls};
use crate::exchange::{Client, ClientSide, Inbound};
use crate::upstream_url::UpstreamUrl;

const CERTIFICATE: &[u8] = include_bytes!("../../../tests/fixtures/localhost.pem");
/// The certificate is its own authority.
const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/localhost.pem");
const KEY: &[u8] = include_bytes!("../../../tests/fixtures/localhost.key.pem");

#[tokio::test]
async fn an_https_upstream_that_negotiates_http_2_gets_it_with_one_consistent_host() {
    let (proxy, host) = proxy_to_echo_over_tls(&["h2", "http/1.1"]).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("6"));
    let body = boxed(Full::from("abc").with_trailers(async { Some(Ok(trailers)) }));
    let received = received(&proxy, request("POST", body)).await;
    assert_eq!(
        received,
        json!({
            "method": "POST", "uri": "/a?b", "version": "HTTP/2.0",
            "headers": [
                ["content-length", "3"], ["host", host], ["x-forwarded-for", "10.0.0.1"], ["x-forwarded-host", "mine"],
                ["x-forwarded-proto", "http"],
            ],
            "body": "abc",
            "trailers": [["x-sum", "6"]],
        })
    );
}

#[tokio::test]
async fn an_https_upstream_without_http_2_gets_http_1_and_the_same_host() {
    let (proxy, host) = proxy_to_echo_over_tls(&["http/1.1"]).await;
    let received = received(&proxy, request("GET", empty())).await;
    assert_eq!(received["version"], "HTTP/1.1");
    let hosts: Vec<_> =
        received["headers"].as_array().unwrap().iter().filter(|pair| pair[0] == "host").collect();
    assert_eq!(hosts, [&json!(["host", host])]);
}

#[tokio::test]
async fn an_upgrade_is_sent_over_http_1_even_if_the_upstream_prefers_http_2() {
    let (proxy, _) = proxy_to_echo_over_tls(&["h2", "http/1.1"]).await;
    let mut inbound = request("GET", empty());
    let request = &mut inbound.request;
    request.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    request.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
    let (_stop, closing) = watch::channel(false);
    let (_upgrade, upgraded) = oneshot::channel();
    inbound.tunnel = Some(ClientSide::new(&ClientLimits::default(), upgraded, closing.clone(), closing));
    let received = received(&proxy, inbound).await;
    assert_eq!(received["version"], "HTTP/1.1");
    assert!(received["headers"].as_array().unwrap().contains(&json!(["upgrade", "websocket"])), "{received}");
}

fn request(method: &str, body: BoxBody) -> Inbound {
    let request = Request::builder().method(method).uri("/a?b").header("host", "mine");
    inbound(request.body(body).unwrap())
}

fn inbound(request: Request<BoxBody>) -> Inbound {
    Inbound::new(request, Client { addr: ([10, 0, 0, 1], 1).into(), tls: false })
}

/// What the echo server received, with the headers sorted: removing one from a `HeaderMap` changes the order of the
/// others.
async fn received(proxy: &Proxy, mut request: Inbound) -> Value {
    let answer = proxy.respond(&mut request).await.into_body().collect().await.unwrap().to_bytes();
    let mut echo: Value =
        serde_json::from_slice(&answer).unwrap_or_else(|_| panic!("not from echo: {answer:?}"));
    echo["headers"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    echo
}

/// A proxy to plain-text servers at these addresses.
fn proxy(addresses: &[SocketAddr], settings: Upstream) -> Proxy {
    let mut urls =
        addresses.iter().map(|addr| Located::from(format!("http://{addr}").parse::<UpstreamUrl>().unwrap()));
    let mut addresses = NonEmpty::from(urls.next().expect("an address"));
    addresses.extend(urls);
    Proxy::new("u", &Upstream { addresses, ..settings }).unwrap()
}

/// Fails instead of hanging.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("this takes too long")
}

/// A proxy to an echo server behind TLS, with the server's host and port.
async fn proxy_to_echo_over_tls(protocols: &[&str]) -> (Proxy, String) {
    let host = echo_over_tls(protocols).await;
    let upstream = Upstream {
        addresses: Located::from(format!("https://{host}").parse::<UpstreamUrl>().unwrap()).into(),
        tls: Some(UpstreamTls { ca: Some(PathBuf::from(CA).into()), ..UpstreamTls::default() }.into()),
        ..Upstream::default()
    };
    (Proxy::new("echo", &upstream).unwrap(), host)
}

/// An echo server behind TLS. Returns its host and port.
async fn echo_over_tls(protocols: &[&str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Arc::new(server_config(protocols)));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that doesn't trust the certificate aborts the handshake.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(async |request: Request<Incoming>| {
                    Ok::<_, Infallible>(Backend::Echo.respond(&mut inbound(request.map(boxed))).await)
                });
                let connection = auto::Builder::new(TokioExecutor::new());
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    host
}

fn server_config(protocols: &[&str]) -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}
