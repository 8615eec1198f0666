//! Versions of HTTP and TLS settings towards upstreams.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::{CA, echo_over_tls, proxy, received, request, soon};
use crate::body::{boxed, empty};
use crate::config::{ForwardedHost, Located, Time, Upstream, UpstreamHttp, UpstreamTls};
use crate::proxy::Proxy;
use crate::upstream_url::UpstreamUrl;

fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(value))])
}

#[tokio::test]
async fn a_plaintext_upstream_configured_for_http_2_gets_it_with_trailers_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(async |request: Request<Incoming>| {
            assert_eq!(
                (request.version(), &request.headers()["te"]),
                (Version::HTTP_2, &"trailers".parse().unwrap())
            );
            assert!(!request.headers().contains_key("host"));
            let authority = request.uri().authority().unwrap().to_string();
            let received = request.into_body().collect().await.unwrap();
            assert_eq!(received.trailers(), Some(&trailers("1")));
            let body = Full::<Bytes>::from(authority).with_trailers(async { Some(Ok(trailers("0"))) });
            Ok::<_, Infallible>(Response::new(body))
        });
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
    });
    let proxy = proxy(&[addr], Upstream { http: UpstreamHttp::Http2, ..Upstream::default() });
    let body = boxed(Full::<Bytes>::from("call").with_trailers(async { Some(Ok(trailers("1"))) }));
    let mut call = request("POST", body);
    call.request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let answer = soon(proxy.respond(&mut call)).await;
    assert_eq!(answer.status(), 200);
    let answer = answer.into_body().collect().await.unwrap();
    assert_eq!(answer.trailers(), Some(&trailers("0")));
    assert_eq!(answer.to_bytes(), addr.to_string());
}

fn over_tls(url: &str, tls: UpstreamTls) -> Upstream {
    let address = url.parse::<UpstreamUrl>().unwrap();
    Upstream { addresses: Located::from(address).into(), tls: Some(tls.into()), ..Upstream::default() }
}

#[tokio::test]
async fn the_certificate_name_and_authorities_are_configurable() {
    let host = echo_over_tls(&["h2", "http/1.1"]).await;
    let by_address = format!("https://{}", host.replace("localhost", "127.0.0.1"));
    let ca = || Some(PathBuf::from(CA).into());
    let named = |name: &str| Some(name.to_owned().into());
    for (tls, status) in [
        (UpstreamTls { ca: ca(), server_name: named("localhost"), identity: None }, 200),
        (UpstreamTls { ca: ca(), server_name: named("other.test"), identity: None }, 502),
        (UpstreamTls { ca: None, server_name: named("localhost"), identity: None }, 502),
    ] {
        let proxy = Proxy::new("u", &over_tls(&by_address, tls)).unwrap();
        assert_eq!(soon(proxy.respond(&mut request("GET", empty()))).await.status(), status);
    }
}

#[tokio::test]
async fn the_clients_host_is_forwarded_if_configured() {
    let host = echo_over_tls(&["h2", "http/1.1"]).await;
    let tls = UpstreamTls { ca: Some(PathBuf::from(CA).into()), ..UpstreamTls::default() };
    let upstream =
        Upstream { host: Some(ForwardedHost::Client.into()), ..over_tls(&format!("https://{host}"), tls) };
    let received = received(&Proxy::new("u", &upstream).unwrap(), request("GET", empty())).await;
    assert_eq!(received["version"], "HTTP/1.1", "in HTTP/2 the host is the upstream's");
    assert!(received["headers"].as_array().unwrap().contains(&serde_json::json!(["host", "mine"])));
}

#[tokio::test]
async fn an_unfinished_tls_handshake_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = Upstream {
        connect_timeout: Time(Duration::from_millis(50)),
        retries: 0,
        ..over_tls(&format!("https://localhost:{port}"), UpstreamTls::default())
    };
    let proxy = Proxy::new("u", &upstream).unwrap();
    assert_eq!(soon(proxy.respond(&mut request("GET", empty()))).await.status(), 502);
}
