//! Heads of messages, and responses of guests.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;

use crate::support::{Settings, Upstream, Wat, program, read_message};

/// Marks requests and responses.
fn marks() -> Wat {
    Wat::new()
        .on_request(
            "(drop (call $enable_features (i32.const 2)))
             (call $set_header_value (i32.const 0) {} {})
             (call $remove_header (i32.const 0) {})",
            &["x-guest", "request", "x-secret"],
        )
        .on_response(
            "(call $set_header_value (i32.const 1) {} {})
             (call $add_header_value (i32.const 1) {} {})
             (call $set_status_code (i32.add (call $get_status_code) (i32.const 1)))",
            &["x-guest", "response", "set-cookie", "b=2"],
        )
}

/// Answers requests itself.
fn denies() -> Wat {
    Wat::new().on_request(
        "(call $set_status_code (i32.const 403))
         (call $set_header_value (i32.const 1) {} {})
         (call $write_body (i32.const 1) {})
         (return (i64.const 0))",
        &["x-why", "no", "go away"],
    )
}

#[test]
fn request_and_response_headers_are_changed_and_a_guest_can_answer_or_fail() {
    let Some(program) = program() else { return };
    let upstream =
        Upstream::start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=1\r\n\r\nok".to_vec());
    let traps = Wat::new().on_request("unreachable", &[]);
    let traps_late = Wat::new().on_response("unreachable", &[]);
    let moves = Wat::new().on_request("(call $set_uri {}) (call $set_method {})", &["/moved?x=1", "PUT"]);
    let envoy = Settings::new(upstream.addr)
        .route("/marks", &marks(), "")
        .route("/denies", &denies(), "")
        .route("/traps-late", &traps_late, "")
        .route("/traps", &traps, "")
        .route("/open", &traps, r#""on_failure": "open""#)
        .route("/moves", &moves, "")
        .start(&program);

    let response = super::support::exchange(
        envoy.addr,
        b"GET /marks HTTP/1.1\r\nhost: a\r\nx-secret: s\r\nconnection: close\r\n\r\n",
    );
    assert_eq!((response.status(), response.text()), (201, "ok".into()));
    assert_eq!(response.header("x-guest").as_deref(), Some("response"));
    assert_eq!(response.header("set-cookie").as_deref(), Some("a=1|b=2"));
    let request = upstream.got().pop().expect("the request has gone on");
    assert_eq!(request.header("x-guest").as_deref(), Some("request"));
    assert_eq!(request.header("x-secret"), None);

    let response = envoy.get("/denies");
    assert_eq!((response.status(), response.text()), (403, "go away".into()));
    assert_eq!(response.header("x-why").as_deref(), Some("no"));
    assert_eq!(response.header("content-length").as_deref(), Some("7"));
    assert!(upstream.got().is_empty(), "it has not gone on");

    for path in ["/traps", "/traps-late"] {
        let response = envoy.get(path);
        assert_eq!((response.status(), response.text()), (500, String::new()), "{path}");
    }
    upstream.got();
    assert_eq!(envoy.get("/open").status(), 200);
    assert_eq!(upstream.got().len(), 1, "a guest that fails open is left out");

    assert_eq!(envoy.get("/moves").status(), 200);
    let request = upstream.got().pop().unwrap();
    assert_eq!(request.start, "PUT /moved?x=1 HTTP/1.1");

    assert_eq!(envoy.get("/plain").header("x-guest"), None, "no guest is configured there");
    let log = envoy.log();
    assert!(log.contains("unreachable"), "{log}");
    // Counts are reported in batches, at the latest with the first call after a second.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(envoy.get("/denies").status(), 403);
    let stats = envoy.ask("/stats?filter=http_wasm");
    assert!(stats.contains("next") && stats.contains("respond"), "{stats}");
}

#[test]
fn a_header_with_an_empty_value_is_left_out() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let empties = Wat::new()
        .on_request("(call $set_header_value (i32.const 0) {} (i32.const 0) (i32.const 0))", &["x-set"])
        .on_request("(call $add_header_value (i32.const 0) {} (i32.const 0) (i32.const 0))", &["x-added"]);
    let envoy = Settings::new(upstream.addr).route("/", &empties, "").start(&program);
    assert_eq!(envoy.get("/").status(), 200);
    let request = upstream.got().pop().unwrap();
    assert_eq!((request.header("x-set"), request.header("x-added")), (None, None));
}

#[test]
fn guests_of_a_chain_see_the_request_in_order_and_the_response_in_reverse() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let adds = |letter: &'static str| {
        Wat::new()
            .on_request(
                "(drop (call $enable_features (i32.const 2))) (call $add_header_value (i32.const 0) {} {})",
                &["x-order", letter],
            )
            .on_response("(call $add_header_value (i32.const 1) {} {})", &["x-order", letter])
    };
    let settings = Settings::new(upstream.addr);
    let (a, b, deny) = (
        settings.guest("a", &adds("a"), ""),
        settings.guest("b", &adds("b"), ""),
        settings.guest("d", &denies(), ""),
    );
    let envoy = settings
        .filter(&format!(r#"{{"guests": {{"a": {a}, "b": {b}, "deny": {deny}}}, "chain": ["b", "a"]}}"#))
        .route_config("/deny", r#"{"chain": ["a", "deny", "b"]}"#)
        .route_config("/wrong", r#"{"chain": ["none"]}"#)
        .start(&program);

    let response = envoy.get("/");
    assert_eq!(response.header("x-order").as_deref(), Some("a|b"));
    assert_eq!(upstream.got().pop().unwrap().header("x-order").as_deref(), Some("b|a"));

    let response = envoy.get("/deny");
    assert_eq!(response.status(), 403);
    assert_eq!(response.header("x-order").as_deref(), Some("a"), "the guest before the one that answers");
    assert!(upstream.got().is_empty());

    assert_eq!(envoy.get("/wrong").status(), 500);
    assert!(envoy.log().contains("no guest is named \"none\""), "{}", envoy.log());
}

#[test]
fn a_grpc_client_reads_the_status_that_a_guest_answers_with() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let envoy = Settings::new(upstream.addr).route("/denies", &denies(), "").start(&program);
    let response = super::support::exchange(
        envoy.addr,
        b"POST /denies HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n\
          content-length: 0\r\nconnection: close\r\n\r\n",
    );
    assert_eq!(response.header("grpc-status").as_deref(), Some("7"));
}

#[test]
fn informational_responses_of_the_upstream_are_not_shown_to_guests() {
    let Some(program) = program() else { return };
    let upstream = Upstream::start(|request| {
        let informational = request.path().trim_start_matches('/');
        let informational = format!("HTTP/1.1 {informational} Informational\r\nlink: </a>\r\n\r\n");
        format!("{informational}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").into_bytes()
    });
    let mut settings = Settings::new(upstream.addr).route("/", &marks(), "");
    settings.http = r#""proxy_100_continue": true,"#;
    let mut envoy = settings.start(&program);
    for path in ["/100", "/103"] {
        let mut socket = TcpStream::connect(envoy.addr).unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\n\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(socket);
        let mut responses: Vec<_> = std::iter::from_fn(|| read_message(&mut reader, false)).collect();
        let response = responses.pop().unwrap();
        assert_eq!((response.status(), response.text()), (201, "ok".into()), "{path}: {response:?}");
        assert_eq!(response.header("x-guest").as_deref(), Some("response"), "{path}");
        // Envoy forwards 100 if it is configured to. For 103, versions differ.
        assert!(responses.len() == 1 || responses.is_empty() && path == "/103", "{path}: {responses:?}");
        for informational in responses {
            assert_eq!(format!("/{}", informational.status()), path);
            assert_eq!(informational.header("x-guest"), None, "{path}: {informational:?}");
        }
    }
    envoy.assert_alive();
}
