//! Truncated responses, and responses with a large head.

use http::{Method, StatusCode};

use super::{AfterResponse, Upstream, http1, http2, ok, send, whole};

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_response_always_arrives_as_a_head_and_a_truncated_body() {
    const TIMES: usize = 100;
    let upstream = Upstream::start(vec![
        ("/length", ok("Content-Length: 5", ""), AfterResponse::Close),
        ("/some", ok("Content-Length: 5", "abc"), AfterResponse::Close),
        ("/chunked", ok("Transfer-Encoding: chunked", ""), AfterResponse::Close),
        ("/chunk", ok("Transfer-Encoding: chunked", "5\r\nabc"), AfterResponse::Close),
        ("/malformed", ok("Transfer-Encoding: chunked", "x\r\n"), AfterResponse::Keep),
        ("/longer", ok("Transfer-Encoding: chunked", "3\r\nabcd\r\n"), AfterResponse::Keep),
        ("/reset", ok("Content-Length: 5", ""), AfterResponse::Reset),
    ])
    .await;
    let server = upstream.gateway().await;
    for (path, begin) in [
        ("/length", ""),
        ("/some", "abc"),
        ("/chunked", ""),
        ("/chunk", "abc"),
        ("/malformed", ""),
        ("/longer", "abc"),
    ] {
        for _ in 0..TIMES {
            let got = http1(&server, "GET", path).await;
            assert_eq!((got.status, got.body()), (200, None), "{path}: {got:?}");
            assert!(got.rest.is_empty() == begin.is_empty() && got.rest.contains(begin), "{path}: {got:?}");
        }
        let mut sender = http2(&server).await;
        let responses = (0..TIMES).map(|_| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let response = send(&mut sender, Method::GET, path).await;
                let (status, _, body) = whole(response.expect("a head")).await;
                (status, body.is_some())
            })
        });
        for response in responses.collect::<Vec<_>>() {
            assert_eq!(response.await.expect("no panic"), (StatusCode::OK, false), "{path}");
        }
        // The connection stays open.
        assert!(send(&mut sender, Method::GET, path).await.is_ok());
    }
    // A reset may also discard the head that was sent before it.
    for _ in 0..TIMES {
        let got = http1(&server, "GET", "/reset").await;
        assert!(got.status == 502 || got.status == 200 && got.body().is_none(), "{got:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_head_with_many_fields_of_an_http1_upstream_passes() {
    let many: String = (0..200).map(|at| format!("x-{at}: v\r\n")).collect();
    let large = format!("x-large: {}", "v".repeat(60_000));
    let upstream = Upstream::start(vec![
        ("/many", ok(&format!("{many}Content-Length: 2"), "ok"), AfterResponse::Keep),
        ("/large", ok(&format!("{large}\r\nContent-Length: 2"), "ok"), AfterResponse::Keep),
        ("/too-many", ok(&format!("{many}{many}Content-Length: 2"), "ok"), AfterResponse::Keep),
        ("/too-large", ok(&format!("{large}{large}\r\nContent-Length: 2"), "ok"), AfterResponse::Keep),
    ])
    .await;
    let server = upstream.gateway().await;
    for (path, status) in [("/many", 200), ("/large", 200), ("/too-many", 502), ("/too-large", 502)] {
        assert_eq!(http1(&server, "GET", path).await.status, status, "{path}");
    }
}
