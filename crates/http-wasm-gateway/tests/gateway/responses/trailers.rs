//! Which fields may be trailers, and which clients get them.

use std::sync::Arc;

use http::Method;
use tokio::net::TcpListener;

use super::{AfterResponse, PREFIXES, RawResponse, Upstream, http1, http2, ok, send, whole};
use crate::support::{Raw, soon};

#[tokio::test(flavor = "multi_thread")]
async fn only_fields_that_may_be_trailers_pass_as_trailers() {
    const TRAILERS: &str = "X-Sum: 1\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: x\r\nSet-Cookie: a=b\r\n\
        Authorization: x\r\nX-Forwarded-For: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nContent_Length: 9\r\n\
        X-Real-IP: 1.2.3.4\r\n";
    let names: Vec<&str> = TRAILERS.lines().filter_map(|line| line.split(':').next()).collect();
    let announced = names.join(", ");
    let fields = format!("Transfer-Encoding: chunked\r\nTrailer: {announced}");
    let upstream = Upstream::start(vec![
        ("/trailers", ok(&fields, &format!("2\r\nok\r\n0\r\n{TRAILERS}\r\n")), AfterResponse::Close),
        ("/length", ok("Content-Length: 2\r\nTrailer: X-Sum", "ok"), AfterResponse::Close),
        (
            "/bad",
            ok("Transfer-Encoding: chunked\r\nTrailer: Host", "2\r\nok\r\n0\r\nHost: x\r\n\r\n"),
            AfterResponse::Close,
        ),
    ])
    .await;
    let server = upstream.gateway().await;
    for guests in PREFIXES {
        let got = http1(&server, "GET", &format!("{guests}/trailers")).await;
        assert_eq!(got.fields("trailer"), ["x-sum"], "{got:?}");
        assert!(got.rest.ends_with("\r\n0\r\nx-sum: 1\r\n\r\n"), "{got:?}");

        let mut sender = http2(&server).await;
        let response = send(&mut sender, Method::GET, &format!("{guests}/trailers")).await;
        let (_, headers, body) = whole(response.expect("a response")).await;
        assert!(headers["trailer"].to_str().unwrap().eq_ignore_ascii_case("x-sum"), "{headers:?}");
        let body = body.expect("a whole body");
        let trailers: Vec<_> = body.trailers().expect("trailers").keys().collect();
        assert_eq!(trailers, ["x-sum"]);

        for path in ["/length", "/bad"] {
            let path = format!("{guests}{path}");
            let got = http1(&server, "GET", &path).await;
            assert!(got.fields("trailer").is_empty() && got.body().as_deref() == Some("ok"), "{got:?}");
            let response = send(&mut sender, Method::GET, &path).await.expect("a response");
            let (_, headers, body) = whole(response).await;
            assert!(!headers.contains_key("trailer"), "{headers:?}");
            assert!(body.expect("a whole body").trailers().is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_are_announced_only_to_clients_that_accept_them() {
    let fields = "Transfer-Encoding: chunked\r\nTrailer: X-Sum";
    let answer = ok(fields, "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n");
    let upstream = Upstream::start(vec![("/", answer, AfterResponse::Keep)]).await;
    let server = upstream.gateway().await;
    for (version, te) in [("HTTP/1.1", ""), ("HTTP/1.1", "TE: gzip\r\n"), ("HTTP/1.0", "TE: trailers\r\n")] {
        let got =
            server.exchange(format!("GET / {version}\r\nHost: h\r\nConnection: close\r\n{te}\r\n")).await;
        assert!(got.contains("ok") && !got.to_ascii_lowercase().contains("x-sum"), "{got}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_request_trailers_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let upstream = Upstream { addr: listener.local_addr().expect("an address"), connections: Arc::default() };
    let server = upstream.gateway().await;
    for guests in PREFIXES {
        let request = format!(
            "POST {guests}/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
             Trailer: X-Sum, Content-Length, X-Real-IP\r\n\r\n\
             2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nX-Real-IP: 1.2.3.4\r\nX_Real_IP: 1.2.3.4\r\n\r\n"
        );
        let mut client = server.connect().await;
        client.send(request).await;
        let (stream, _) = soon(listener.accept()).await.expect("a connection");
        let mut stream = Raw(stream);
        let received = stream.read_until("\r\n0\r\nx-sum: 1\r\n\r\n").await;
        let head = received.split_once("\r\n\r\n").expect("a head").0;
        assert!(head.to_ascii_lowercase().contains("\r\ntrailer: x-sum"), "{received}");
        assert!(!received.to_ascii_lowercase().contains("real"), "{received}");
        stream.send(ok("Content-Length: 2\r\nConnection: close", "ok")).await;
        assert_eq!(RawResponse::parse(&client.read_to_end().await).body().as_deref(), Some("ok"));
    }
}
