//! The gateway as Envoy's external processor.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{
    Envoy, Processor, Settings, Upstream, Wat, chunked, exchange, program, read_message, read_until, request,
};

/// The filter's processing mode for guests that see bodies and trailers.
pub(crate) const DUPLEX: &str = r#""processing_mode": {"request_header_mode": "SEND", "response_header_mode": "SEND",
  "request_body_mode": "FULL_DUPLEX_STREAMED", "response_body_mode": "FULL_DUPLEX_STREAMED",
  "request_trailer_mode": "SEND", "response_trailer_mode": "SEND"},"#;

/// The processing mode for guests that only see heads.
const HEADS: &str = r#""processing_mode": {"request_header_mode": "SEND", "response_header_mode": "SEND"},"#;

fn start(guests: &[&Wat], route: &str, filter: &str, upstream: &Upstream) -> Option<(Processor, Envoy)> {
    let program = program()?;
    let processor = Processor::start(guests, route);
    let envoy = Settings::new(upstream.addr).ext_proc(&[processor.addr], filter).start(&program);
    Some((processor, envoy))
}

#[test]
fn request_and_response_headers_are_changed() {
    let marks = Wat::new()
        .on_request(
            "(drop (call $enable_features (i32.const 2)))
             (call $set_header_value (i32.const 0) {} {})
             (call $add_header_value (i32.const 0) {} {})
             (call $remove_header (i32.const 0) {})
             (call $set_uri {}) (call $set_method {}) (call $set_header_value (i32.const 0) {} {})",
            &["x-guest", "request", "x-guest", "again", "x-secret", "/moved?x=1", "PUT", "host", "b.example"],
        )
        .on_response(
            "(call $set_header_value (i32.const 1) {} {})
             (call $add_header_value (i32.const 1) {} {})
             (call $set_status_code (i32.add (call $get_status_code) (i32.const 1)))",
            &["x-guest", "response", "set-cookie", "b=2"],
        );
    let upstream =
        Upstream::start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=1\r\n\r\nok".to_vec());
    for mode in [DUPLEX, HEADS] {
        let Some((_processor, envoy)) = start(&[&marks], "ext_proc = {}", mode, &upstream) else { return };
        let response = exchange(envoy.addr, &request("GET /marks HTTP/1.1\r\nx-secret: s"));
        assert_eq!((response.status(), response.text()), (201, "ok".into()));
        assert_eq!(response.header("x-guest").as_deref(), Some("response"));
        assert_eq!(response.header("set-cookie").as_deref(), Some("a=1|b=2"));
        let got = upstream.got().pop().expect("the request has gone on");
        assert_eq!(got.start, "PUT /moved?x=1 HTTP/1.1");
        assert_eq!(got.header("x-guest").as_deref(), Some("request|again"));
        assert_eq!(got.header("x-secret"), None);
        assert_eq!(got.header("host").as_deref(), Some("b.example"));
    }
}

#[test]
fn guests_of_a_chain_see_the_request_in_order_and_the_response_in_reverse() {
    let adds = |letter: &'static str| {
        Wat::new()
            .on_request(
                "(drop (call $enable_features (i32.const 2))) (call $add_header_value (i32.const 0) {} {})",
                &["x-order", letter],
            )
            .on_response("(call $add_header_value (i32.const 1) {} {})", &["x-order", letter])
    };
    let upstream = Upstream::says("ok");
    let guests = [&adds("b"), &adds("a")];
    let Some((_processor, envoy)) = start(&guests, "ext_proc = {}", DUPLEX, &upstream) else { return };
    assert_eq!(envoy.get("/").header("x-order").as_deref(), Some("a|b"));
    assert_eq!(upstream.got().pop().unwrap().header("x-order").as_deref(), Some("b|a"));
}

#[test]
fn a_request_that_a_guest_answers_or_fails_on_is_not_forwarded() {
    let denies = Wat::new().on_request(
        "(call $set_status_code (i32.const 403))
         (call $set_header_value (i32.const 1) {} {})
         (call $add_header_value (i32.const 1) {} {})
         (call $add_header_value (i32.const 1) {} {})
         (call $write_body (i32.const 1) {})
         (return (i64.const 0))",
        &["x-why", "no", "set-cookie", "a=1", "set-cookie", "b=2", "go away"],
    );
    let upstream = Upstream::says("ok");
    let Some((_processor, envoy)) = start(&[&denies], "ext_proc = {}", DUPLEX, &upstream) else { return };
    let response = envoy.get("/");
    assert_eq!((response.status(), response.text()), (403, "go away".into()));
    assert_eq!(response.header("x-why").as_deref(), Some("no"));
    assert_eq!(response.header("set-cookie").as_deref(), Some("a=1|b=2"));
    assert_eq!(response.header("content-length").as_deref(), Some("7"));
    let grpc = exchange(
        envoy.addr,
        &request("POST / HTTP/1.1\r\ncontent-type: application/grpc\r\ncontent-length: 0"),
    );
    assert_eq!(grpc.header("grpc-status").as_deref(), Some("7"), "PERMISSION_DENIED");

    for traps in [Wat::new().on_request("unreachable", &[]), Wat::new().on_response("unreachable", &[])] {
        let Some((_processor, envoy)) = start(&[&traps], "ext_proc = {}", DUPLEX, &upstream) else { return };
        upstream.got();
        let response = envoy.get("/");
        assert_eq!(response.status(), 500);
        assert!(!response.text().contains("unreachable"), "{}", response.text());
    }
}

#[test]
fn bodies_are_read_replaced_or_left_alone_in_any_framing() {
    let reads = Wat::new().on_request(
        "(drop (call $enable_features (i32.const 1)))
         (i32.store (i32.const 0) (i32.add (i32.const 48) (i32.rem_u (call $read_all (i32.const 0)) (i32.const 10))))
         (call $set_header_value (i32.const 0) {} (i32.const 0) (i32.const 1))",
        &["x-last-digit"],
    );
    let upstream = Upstream::says("ok");
    let Some((_processor, envoy)) = start(&[&reads], "ext_proc = {}", DUPLEX, &upstream) else { return };
    for size in [0, 1, 999, 5003, 300_007, 3_000_008] {
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let response = envoy.post("/", &body);
        assert_eq!((response.status(), response.text()), (200, "ok".into()), "{size}");
        let got = upstream.got().pop().unwrap();
        assert_eq!(got.header("x-last-digit"), Some((size % 10).to_string()));
        assert!(got.body == body, "{size}: {} bytes came", got.body.len());
    }
    let response = exchange(envoy.addr, &chunked("/", &["abc", "defg"], "x-end: 1\r\n"));
    assert_eq!(response.status(), 200);
    let got = upstream.got().pop().unwrap();
    assert_eq!((got.text(), got.header("x-last-digit")), ("abcdefg".into(), Some("7".into())));
    assert_eq!(got.trailers, [("x-end".to_owned(), "1".to_owned())]);

    let replaces = Wat::new()
        .on_request(
            "(drop (call $enable_features (i32.const 2))) (call $write_body (i32.const 0) {})",
            &["new request"],
        )
        .on_response("(call $write_body (i32.const 1) {})", &["new response"]);
    let Some((_processor, envoy)) = start(&[&replaces], "ext_proc = {}", DUPLEX, &upstream) else { return };
    for body in ["", "old", &"x".repeat(1_000_000)] {
        let response = envoy.post("/", body.as_bytes());
        assert_eq!((response.status(), response.text()), (200, "new response".into()));
        assert_eq!(upstream.got().pop().unwrap().text(), "new request", "{} bytes before", body.len());
    }
    assert_eq!(envoy.get("/").text(), "new response");
    assert_eq!(upstream.got().pop().unwrap().text(), "new request", "in place of none");
}

#[test]
fn a_body_is_forwarded_while_it_is_still_arriving() {
    let upstream = Upstream::says("ok");
    let Some((_processor, envoy)) = start(&[&Wat::new()], "ext_proc = {}", DUPLEX, &upstream) else { return };
    let response = exchange(envoy.addr, &chunked("/", &["abc", "defg"], "x-end: 1\r\n"));
    assert_eq!((response.status(), response.text()), (200, "ok".into()));
    let got = upstream.got().pop().unwrap();
    assert_eq!((got.text(), got.trailers), ("abcdefg".into(), vec![("x-end".to_owned(), "1".to_owned())]));

    // The client sends the rest only once it has seen the beginning of the response.
    let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = echo.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = echo.accept().unwrap();
        read_until(&mut socket, b"first\r\n").unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").unwrap();
        read_until(&mut socket, b"0\r\n\r\n").unwrap();
        socket.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
    });
    let Some(program) = program() else { return };
    let processor = Processor::start(&[&Wat::new()], "ext_proc = {}");
    let envoy = Settings::new(addr).ext_proc(&[processor.addr], DUPLEX).start(&program);
    let mut socket = TcpStream::connect(envoy.addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.write_all(&request("POST / HTTP/1.1\r\ntransfer-encoding: chunked")).unwrap();
    socket.write_all(b"5\r\nfirst\r\n").unwrap();
    let mut seen = read_until(&mut socket, b"one\r\n").unwrap();
    socket.write_all(b"0\r\n\r\n").unwrap();
    socket.read_to_end(&mut seen).unwrap();
    let response = read_message(&mut BufReader::new(&seen[..]), false).unwrap();
    assert_eq!((response.text(), response.is_cut), ("onetwo".into(), false));
}

#[test]
fn responses_without_a_body_stay_without_one() {
    let upstream = Upstream::start(|request| {
        let head = match request.path() {
            "/204" => "HTTP/1.1 204 No Content\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n",
        };
        format!("{head}\r\n").into_bytes()
    });
    let reads = Wat::new()
        .on_request("(drop (call $enable_features (i32.const 2)))", &[])
        .on_response("(drop (call $read_all (i32.const 1)))", &[]);
    let Some((_processor, envoy)) = start(&[&reads], "ext_proc = {}", DUPLEX, &upstream) else { return };
    for (method, path, status) in [("GET", "/204", 204), ("GET", "/304", 304), ("HEAD", "/", 200)] {
        let response = exchange(envoy.addr, &request(&format!("{method} {path} HTTP/1.1")));
        assert_eq!((response.status(), response.text()), (status, String::new()), "{path}");
    }
}

#[test]
fn a_guest_over_the_ext_proc_timeout_is_a_504() {
    let loops = Wat::new().on_request("(loop $for_ever (br $for_ever))", &[]);
    let upstream = Upstream::says("ok");
    let route = "ext_proc = { timeout = \"300ms\" }";
    let Some((_processor, envoy)) = start(&[&loops], route, DUPLEX, &upstream) else { return };
    assert_eq!(envoy.get("/").status(), 504);
    assert!(upstream.got().is_empty());
}

#[test]
fn requests_fail_in_a_processing_mode_that_would_bypass_guests() {
    let upstream = Upstream::says("ok");
    for mode in [
        r#""processing_mode": {"request_header_mode": "SKIP", "response_header_mode": "SEND"},"#,
        r#""processing_mode": {"request_body_mode": "BUFFERED"},"#,
    ] {
        let Some((_processor, envoy)) = start(&[&Wat::new()], "ext_proc = {}", mode, &upstream) else {
            return;
        };
        assert_eq!(envoy.get("/").status(), 500, "{mode}");
    }
    // A guest that reads a body that Envoy doesn't send fails, rather than seeing an empty one.
    let reads = Wat::new().on_request("(drop (call $read_all (i32.const 0)))", &[]);
    let Some((_processor, envoy)) = start(&[&reads], "ext_proc = {}", HEADS, &upstream) else { return };
    upstream.got();
    let status = envoy.post("/", b"secret").status();
    assert!(status >= 400, "{status}");
    assert!(upstream.got().is_empty());
    assert_eq!(envoy.get("/").status(), 200);
}

#[test]
fn without_the_body_mode_a_response_body_is_replaced_whole_or_left_alone() {
    let upstream = Upstream::start(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nsecret\r\n0\r\nx-end: 1\r\n\r\n".to_vec()
    });
    let buffers = || Wat::new().on_request("(drop (call $enable_features (i32.const 2)))", &[]);
    for (guest, status, body) in [
        (buffers().on_response("unreachable", &[]), 500, ""),
        (buffers().on_response("(call $write_body (i32.const 1) {})", &["redacted"]), 200, "redacted"),
        (buffers().on_response("(call $set_status_code (i32.const 404))", &[]), 404, "secret"),
    ] {
        let Some((_processor, envoy)) = start(&[&guest], "ext_proc = {}", HEADS, &upstream) else { return };
        let response = envoy.get("/");
        assert_eq!((response.status(), response.text()), (status, body.into()));
    }
    // Request bodies can't be replaced in this mode.
    let replaces = Wat::new().on_request("(call $write_body (i32.const 0) {})", &["new request"]);
    let Some((_processor, envoy)) = start(&[&replaces], "ext_proc = {}", HEADS, &upstream) else { return };
    upstream.got();
    assert_eq!(envoy.post("/", b"old").status(), 500);
    assert!(upstream.got().is_empty());
}

/// The bytes that come back through an upgraded connection, if the upgrade succeeds.
fn upgraded(program: &std::path::Path, guest: &Wat) -> Option<[u8; 4]> {
    let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = echo.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = echo.accept().unwrap();
        read_until(&mut socket, b"\r\n\r\n").unwrap();
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        socket.write_all(answer).unwrap();
        let mut bytes = [0; 4];
        socket.read_exact(&mut bytes).unwrap();
        socket.write_all(&bytes).unwrap();
        // When the upstream closes the connection, Envoy drops data that is still at the processor.
        let _closed = socket.read_to_end(&mut Vec::new());
    });
    let processor = Processor::start(&[guest], "ext_proc = {}");
    let mut settings = Settings::new(addr).ext_proc(&[processor.addr], DUPLEX);
    settings.http = r#""upgrade_configs": [{"upgrade_type": "websocket"}],"#;
    let envoy = settings.start(program);
    let mut socket = TcpStream::connect(envoy.addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .unwrap();
    let seen = read_until(&mut socket, b"\r\n\r\n").ok()?;
    if !seen.starts_with(b"HTTP/1.1 101") {
        return None;
    }
    socket.write_all(b"ping").unwrap();
    let mut echoed = [0; 4];
    socket.read_exact(&mut echoed).unwrap();
    Some(echoed)
}

#[test]
fn a_guest_that_reads_bodies_does_not_hold_up_an_upgraded_connection() {
    let Some(program) = program() else { return };
    if upgraded(&program, &Wat::new()).is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: this Envoy (1.39.3 is one) upgrades no connection through an external processor"
        );
        return;
    }
    let reads = Wat::new().on_request(
        "(drop (call $enable_features (i32.const 1))) (drop (call $read_all (i32.const 0)))",
        &[],
    );
    assert_eq!(upgraded(&program, &reads).as_ref(), Some(b"ping"));
}

#[test]
fn envoy_fails_requests_when_the_processor_is_unavailable() {
    let upstream = Upstream::says("ok");
    let Some((mut processor, envoy)) = start(&[&Wat::new()], "ext_proc = {}", DUPLEX, &upstream) else {
        return;
    };
    assert_eq!(envoy.get("/").status(), 200);
    processor.stop();
    let status = envoy.get("/").status();
    assert!((500..=503).contains(&status), "{status}");
}

/// A filter in front of the external processor that responds itself.
const LUA: &str = concat!(
    r#"{"name": "lua", "typed_config": {
  "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
  "default_source_code": {"inline_string": "#,
    r#""function envoy_on_request(h) if h:headers():get(':path') == '/lua' then "#,
    r#"h:respond({[':status'] = '418', ['x-lua'] = '1'}, 'from lua') end end"}}},"#,
);

#[test]
fn a_local_reply_passes_only_once_a_request_has_been_seen() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let marks = Wat::new()
        .on_request("(drop (call $enable_features (i32.const 2)))", &[])
        .on_response("(call $set_header_value (i32.const 1) {} {})", &["x-guest", "1"]);
    for mode in [DUPLEX, HEADS] {
        let processor = Processor::start(&[&marks], "ext_proc = {}");
        let settings = Settings::new(upstream.addr).ext_proc(&[processor.addr], mode).before(LUA);
        let envoy = settings.start(&program);
        assert_eq!(envoy.get("/lua").status(), 500, "this filter might leave requests out");
        assert_eq!(envoy.get("/").header("x-guest").as_deref(), Some("1"));
        let response = envoy.get("/lua");
        assert_eq!((response.status(), response.text()), (418, "from lua".into()));
        assert_eq!((response.header("x-lua").as_deref(), response.header("x-guest")), (Some("1"), None));
    }
}

#[test]
fn the_body_limit_applies_to_each_client_body_not_to_the_ext_proc_stream() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says(Box::leak("x".repeat(100_000).into_boxed_str()));
    let (small, large) = (&[b'x'; 1024], &[b'x'; 1025]);
    let pieces = |size: usize| chunked("/", &[&"x".repeat(1000), &"x".repeat(size - 1000)], "");
    for (listen, route) in [("", "max_request_body = \"1KiB\""), ("limits.max_request_body = \"1KiB\"", "")] {
        let processor = Processor::start_at(listen, &[&Wat::new()], &format!("ext_proc = {{}}\n{route}"));
        let envoy = Settings::new(upstream.addr).ext_proc(&[processor.addr], DUPLEX).start(&program);
        for (allowed, sent) in [(true, small.len()), (false, large.len())] {
            let declared = envoy.post("/", &vec![b'x'; sent]);
            let streamed = exchange(envoy.addr, &pieces(sent));
            for response in [declared, streamed] {
                match allowed {
                    true => assert_eq!((response.status(), response.body.len()), (200, 100_000)),
                    false => assert_eq!(response.status(), 413),
                }
            }
        }
        assert!(upstream.got().iter().all(|request| request.body.len() <= small.len()));
    }
}
