//! Guests that compute for a long time, next to others.

use std::time::{Duration, Instant};

use crate::support::{Settings, Upstream, Wat, program};

/// Loops forever.
fn loops() -> Wat {
    Wat::new().on_request("(loop $for_ever (br $for_ever))", &[])
}

/// Computes for several hundredths of a second, then marks request and response.
fn slow() -> Wat {
    let spin = "(global.set $n (i32.const 0))
        (loop $l (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (br_if $l (i32.lt_u (global.get $n) (i32.const 30000000))))";
    Wat::new()
        .on_request(
            &format!(
                "(drop (call $enable_features (i32.const 2))) {spin} (call $set_header_value (i32.const 0) {{}} {{}})
                 (call $remove_header (i32.const 0) {{}}) (call $set_uri {{}})"
            ),
            &["x-guest", "request", "x-secret", "/moved"],
        )
        .on_response(
            &format!("{spin} (call $set_header_value (i32.const 1) {{}} {{}}) (call $set_status_code (i32.const 202))"),
            &["x-guest", "response"],
        )
}

#[test]
fn a_long_computation_moves_to_another_thread_and_its_changes_are_applied() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let envoy = Settings::new(upstream.addr)
        .route("/slow", &slow(), r#""limits": {"deadline": "60s"}"#)
        .start(&program);
    for _ in 0..3 {
        let response = super::support::exchange(
            envoy.addr,
            b"POST /slow HTTP/1.1\r\nhost: a\r\nx-secret: s\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc",
        );
        assert_eq!((response.status(), response.text()), (202, "ok".into()));
        assert_eq!(response.header("x-guest").as_deref(), Some("response"));
        let request = upstream.got().pop().unwrap();
        assert_eq!((request.path(), request.text()), ("/moved", "abc".into()));
        assert_eq!(request.header("x-guest").as_deref(), Some("request"));
        assert_eq!(request.header("x-secret"), None);
    }
}

#[test]
fn an_endless_loop_is_stopped_at_the_deadline() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let mut envoy = Settings::new(upstream.addr)
        .route("/loops", &loops(), r#""limits": {"deadline": "100ms"}"#)
        .start(&program);
    assert_eq!(envoy.get("/loops").status(), 504);
    assert_eq!(envoy.get("/").status(), 200);
    envoy.assert_alive();
}

#[test]
fn client_disconnects_while_guests_compute_or_wait_leak_nothing() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let reads = Wat::new().on_request("(drop (call $read_all (i32.const 0)))", &[]);
    let mut envoy = Settings::new(upstream.addr)
        .route("/loops", &loops(), r#""limits": {"deadline": "300ms"}"#)
        .route("/reads", &reads, "")
        .start(&program);
    for path in ["/loops", "/reads"] {
        for _ in 0..20 {
            use std::io::Write as _;
            let mut socket = std::net::TcpStream::connect(envoy.addr).unwrap();
            let request = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
            socket.write_all(request.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(envoy.get("/").status(), 200);
    envoy.assert_alive();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !envoy.ask("/stats?filter=downstream_rq_active").contains("http.t.downstream_rq_active: 0") {
        assert!(Instant::now() < deadline, "streams are left behind");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Prints figures. `HTTP_WASM_ENVOY_LATENCY` enables the assertion on latency, which would fail on a busy machine.
#[test]
fn three_looping_guests_hardly_delay_another_request_on_the_same_worker() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("ok");
    let mark = Wat::new().on_request("(call $set_header_value (i32.const 0) {} {})", &["x-guest", "request"]);
    let envoy = Settings::new(upstream.addr)
        .route("/loops", &loops(), r#""limits": {"deadline": "1s"}"#)
        .route("/innocent", &mark, "")
        .start(&program);
    let addr = envoy.addr;
    let until = Instant::now() + Duration::from_secs(4);
    let loopers: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(move || {
                let request = b"GET /loops HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
                let mut statuses = Vec::new();
                while Instant::now() < until {
                    statuses.push(super::support::exchange(addr, request).status());
                }
                statuses
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let mut times = Vec::new();
    while Instant::now() < until {
        let started = Instant::now();
        assert_eq!(envoy.get("/innocent").status(), 200);
        times.push(started.elapsed());
    }
    for looper in loopers {
        assert!(looper.join().unwrap().iter().all(|&status| status == 504));
    }
    times.sort();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let figures = format!(
        "{} innocent requests: median {median:?}, p99 {p99:?}, worst {:?}",
        times.len(),
        times[times.len() - 1]
    );
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{figures}");
    if std::env::var_os("HTTP_WASM_ENVOY_LATENCY").is_some() {
        assert!(p99 < Duration::from_millis(20), "{figures}");
    }
}
