//! Bodies that guests read, replace, or don't touch.

use crate::support::{Settings, Upstream, Wat, chunked, exchange, program};

/// Reads the request body, which is forwarded unchanged, and adds a header with its length.
fn reads() -> Wat {
    Wat::new().on_request(
        "(drop (call $enable_features (i32.const 1)))
         (i32.store (i32.const 0) (i32.add (i32.const 48) (i32.rem_u (call $read_all (i32.const 0)) (i32.const 10))))
         (call $set_header_value (i32.const 0) {} (i32.const 0) (i32.const 1))",
        &["x-last-digit"],
    )
}

/// Replaces the request body without reading it.
fn replaces() -> Wat {
    Wat::new().on_request("(call $write_body (i32.const 0) {})", &["new request"])
}

/// Reads the response body, and replaces it.
fn replaces_response() -> Wat {
    Wat::new().on_request("(drop (call $enable_features (i32.const 2)))", &[]).on_response(
        "(drop (call $read_all (i32.const 1))) (call $write_body (i32.const 1) {})",
        &["new response"],
    )
}

#[test]
fn a_body_that_a_guest_has_read_is_forwarded_whole() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let envoy = Settings::new(upstream.addr).route("/reads", &reads(), "").start(&program);
    for size in [0, 1, 999, 1000, 5003, 300_007, 900_008] {
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        assert_eq!(envoy.post("/reads", &body).status(), 200, "{size}");
        let got = upstream.got().pop().unwrap();
        assert_eq!(got.header("x-last-digit"), Some((size % 10).to_string()));
        assert_eq!(got.header("content-length"), Some(size.to_string()));
        assert!(got.body == body, "{size}: {} bytes came", got.body.len());
    }
    let response = exchange(envoy.addr, &chunked("/reads", &["abc", "defg"], "x-end: 1\r\n"));
    assert_eq!(response.status(), 200);
    let got = upstream.got().pop().unwrap();
    assert_eq!((got.text(), got.header("x-last-digit")), ("abcdefg".into(), Some("7".into())));
    assert_eq!(got.trailers, [("x-end".to_owned(), "1".to_owned())]);
}

#[test]
fn a_body_over_the_replay_cap_is_refused_and_envoy_keeps_serving() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let mut envoy = Settings::new(upstream.addr)
        .route("/reads", &reads(), r#""limits": {"replay_bytes": "64 KiB"}"#)
        .start(&program);
    assert_eq!(envoy.post("/reads", &vec![b'x'; 200_000]).status(), 413);
    assert_eq!(envoy.post("/reads", &vec![b'x'; 60_000]).status(), 200);
    envoy.assert_alive();
}

#[test]
fn a_replaced_body_gets_the_framing_of_its_new_content() {
    let Some(program) = program() else { return };
    let upstream = Upstream::start(|request| match request.path() {
        path if path.ends_with("chunked") => {
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nold\r\n0\r\n\r\n".to_vec()
        }
        path if path.ends_with("empty") => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold".to_vec(),
    });
    let envoy = Settings::new(upstream.addr)
        .route("/request", &replaces(), "")
        .route("/response", &replaces_response(), "")
        .start(&program);
    for request in [
        b"POST /request HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\nold".to_vec(),
        b"POST /request HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec(),
        b"GET /request HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_vec(),
        chunked("/request", &["old"], ""),
    ] {
        let response = exchange(envoy.addr, &request);
        assert_eq!((response.status(), response.text()), (200, "old".into()));
        let got = upstream.got().pop().unwrap();
        assert_eq!((got.text(), got.header("content-length")), ("new request".into(), Some("11".into())));
        assert_eq!(got.header("transfer-encoding"), None);
    }
    for path in ["/response", "/response-chunked", "/response-empty"] {
        let response = envoy.get(path);
        assert_eq!((response.status(), response.text()), (200, "new response".into()), "{path}");
        assert_eq!(response.header("content-length").as_deref(), Some("12"), "{path}");
        assert_eq!(response.header("transfer-encoding"), None, "{path}");
    }
    let head = exchange(envoy.addr, b"HEAD /response HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!((head.status(), head.header("content-length").as_deref()), (200, Some("3")));
}

#[test]
fn an_upload_that_no_guest_reads_streams_through() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let envoy = Settings::new(upstream.addr).route("/", &Wat::new(), "").start(&program);
    let body = vec![b'x'; 5 << 20];
    assert_eq!(envoy.post("/", &body).status(), 200);
    assert_eq!(upstream.got().pop().unwrap().body.len(), body.len(), "more than Envoy would buffer");
}

#[test]
fn a_body_that_arrives_while_a_guest_computes_stays_in_order() {
    let Some(program) = program() else { return };
    let body: Vec<u8> = (0..5 << 20).map(|at| (at % 251) as u8).collect();
    let response = body.clone();
    let upstream = Upstream::start(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", response.len());
        [head.as_bytes(), &response].concat()
    });
    // This runs on a thread of the module, and reads nothing.
    let computes = "(global.set $n (i32.const 0))
        (loop $l (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (br_if $l (i32.lt_u (global.get $n) (i32.const 200000000))))";
    let computes = Wat::new().on_request(computes, &[]).on_response(computes, &[]);
    let envoy = Settings::new(upstream.addr)
        .route("/", &computes, r#""limits": {"deadline": "60s"}"#)
        .start(&program);
    let got = envoy.post("/", &body);
    assert!(upstream.got().pop().unwrap().body == body, "the request differs");
    assert_eq!((got.status(), got.is_cut), (200, false));
    assert!(got.body == body, "the response differs");
}
