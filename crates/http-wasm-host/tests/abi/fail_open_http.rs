//! Failing open with the `http` crate's types.

use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use http_wasm_host::{Body, BodyKind, BoxError, ErrorKind, HttpHost};

use crate::support::{BUFFER_REQUEST, BUFFER_RESPONSE, Probe, Wat, block_on, pattern, proceeds, stops};

fn load(wat: Wat) -> Probe<HttpHost> {
    wat.pages(3).fails_open().load_for()
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [("b", "1"), ("a", "2"), ("b", "3"), ("content-length", "5000")] {
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn request(uri: &str, body: Body) -> HttpHost {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri.parse().unwrap();
    *request.headers_mut() = headers();
    request.extensions_mut().insert("kept");
    HttpHost::new(request, None)
}

fn body() -> Body {
    Body::from(bytes::Bytes::from(pattern(5000)))
}

#[test]
fn a_request_is_forwarded_as_received_after_a_failure() {
    let spoil = r#"(call $set_method "PUT") (call $set_uri "/spoiled")
        (call $set_header_value 0 "host" "spoiled.example") (call $set_header_value 0 "a" "spoiled")
        (call $remove_header 0 "b") (call $write_body 0 "spoiled")
        (call $set_header_value 1 "a" "spoiled") (call $set_status_code 418)"#;
    for uri in ["/a?b", "https://example.com/a?b", "https://example.com"] {
        for features in [0, BUFFER_REQUEST] {
            let probe = load(stops(&format!("(call $read 0 1000) {spoil} unreachable")).features(features));
            let request = probe.bypassed(request(uri, body())).0.take_request(false);
            assert_eq!((request.method().as_str(), request.uri()), ("POST", &uri.parse::<Uri>().unwrap()));
            assert_eq!(request.headers(), &headers());
            assert_eq!(request.extensions().get(), Some(&"kept"));
            assert_eq!(request.body().size_hint().exact(), Some(5000));
            assert!(block_on(request.into_body().collect()).unwrap().to_bytes() == pattern(5000));
        }
    }
}

#[test]
fn a_response_is_sent_as_received_after_a_failure() {
    let spoil = r#"(call $set_status_code 418) (call $set_header_value 1 "a" "spoiled") (call $remove_header 1 "b")
        (call $add_header_value 1 "c" "spoiled") (call $write_body 1 "spoiled")"#;
    for (features, in_response) in
        [(0, String::new()), (BUFFER_RESPONSE, format!("(call $read 1 99) {spoil}"))]
    {
        let after = format!("{in_response} unreachable");
        let probe = load(proceeds(spoil).features(features).on_response(&after));
        let mut pinned = probe.next(request("/", Body::empty()));
        let mut response = Response::new(body());
        *response.status_mut() = StatusCode::CREATED;
        *response.headers_mut() = headers();
        pinned.host_mut().set_response(response);
        let handled = block_on(pinned.handle_response()).unwrap();
        assert_eq!(handled.error.map(|error| error.kind()), Some(ErrorKind::Trap));
        let response = handled.host.into_response();
        assert_eq!((response.status(), response.headers()), (StatusCode::CREATED, &headers()));
        assert_eq!(response.body().size_hint().exact(), Some(5000));
        assert!(block_on(response.into_body().collect()).unwrap().to_bytes() == pattern(5000));
    }
}

#[test]
fn the_head_of_a_bodiless_response_is_sent_as_received_after_a_failure() {
    for (method, status) in [("HEAD", 200), ("GET", 304), ("GET", 204)] {
        let probe = load(
            proceeds("").features(BUFFER_RESPONSE).on_response("(call $write_body 1 \"x\") unreachable"),
        );
        let request = Request::builder().method(method).body(Body::empty()).unwrap();
        let mut pinned = probe.next(HttpHost::new(request, None));
        let sent = Response::builder().status(status).header("content-length", "77").body(Body::empty());
        pinned.host_mut().set_response(sent.unwrap());
        let response = block_on(pinned.handle_response()).unwrap().host.into_response();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-length"], "77");
        assert!(response.body().is_end_stream());
    }
}

#[test]
fn a_body_that_breaks_off_while_the_guest_reads_does_not_fail_open() {
    let broken = || {
        let frames: [Result<_, BoxError>; 2] =
            [Ok(http_body::Frame::data(bytes::Bytes::from("abc"))), Err("connection reset".into())];
        Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
    };
    let probe = load(stops("(call $read 0 100)"));
    let error = probe.outcome(request("/", broken())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Body(BodyKind::Request));
    // After a failure of the guest, it breaks off for the next handler.
    let probe = load(stops("(call $read 0 2) unreachable"));
    let request = probe.bypassed(request("/", broken())).0.take_request(false);
    assert!(block_on(request.into_body().collect()).is_err());
}

#[test]
fn a_response_that_cannot_be_sent_fails_open_and_is_discarded() {
    // No server takes a header name of more than 65,535 bytes.
    let calls = "(call $set_status_code 418) (call $set_header_value 1 \"a\" \"b\")
        (memory.fill LARGE 97 70000) (call $set_header_value 1 LARGE 70000 \"x\")";
    for wat in [stops(calls), proceeds(calls)] {
        let probe = load(wat);
        let mut host = match probe.outcome(request("/", body())).unwrap() {
            http_wasm_host::Outcome::Bypassed { host, .. } => host,
            http_wasm_host::Outcome::Next(mut pinned) => {
                pinned.host_mut().set_response(Response::<Body>::default());
                let handled = block_on(pinned.handle_response()).unwrap();
                assert!(handled.error.is_some());
                handled.host
            }
            _ => panic!("such a response can't be sent"),
        };
        let _request = host.take_request(false);
        let response = host.into_response();
        assert_eq!((response.status(), response.headers().len()), (StatusCode::OK, 0));
    }
}
