//! Guests that rewrite a response while it is sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::support;
use crate::support::{
    Envoy, Http2Upstream, Live, LiveUpstream, Outgoing, Receiver, Settings, Upstream, Wat, exchange,
    programs, request,
};

/// The settings of a guest that streams.
const STREAM: &str = r#""stream": "response", "allow": ["undeclared-stream"]"#;

/// Flips the case of each letter of the response, piece by piece. Before each piece it runs `code`.
fn flips(code: &str) -> Wat {
    let flip = format!(
        "(local $read i64) (local $at i32) (local $end i32)
         (loop $more
           (local.set $read (call $read_body (i32.const 1) (i32.const 65536) (i32.const 65536)))
           (local.set $at (i32.const 65536))
           (local.set $end (i32.add (i32.const 65536) (i32.wrap_i64 (local.get $read))))
           (block $done (loop $next
             (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
             (i32.store8 (local.get $at) (i32.xor (i32.const 32) (i32.load8_u (local.get $at))))
             (local.set $at (i32.add (local.get $at) (i32.const 1)))
             (br $next)))
           {code}
           (call $write_body (i32.const 1) (i32.const 65536) (i32.wrap_i64 (local.get $read)))
           (br_if $more (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))))"
    );
    buffered().on_response(&flip, &[])
}

fn buffered() -> Wat {
    Wat::new().on_request("(drop (call $enable_features (i32.const 2)))", &[])
}

/// Traps after writing this.
fn fails_after(text: &'static str) -> Wat {
    buffered().on_response("(call $write_body (i32.const 1) {}) unreachable", &[text])
}

/// The Envoy to test, unless it is too old to stream.
fn program() -> Option<PathBuf> {
    support::program().filter(|program| !is_old(program))
}

fn is_old(program: &Path) -> bool {
    program.to_string_lossy().contains("1.37")
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 32).collect()
}

/// Calls `check` with an Envoy and an upstream for each HTTP version, and whether the client uses HTTP/2.
fn with_versions(wat: &Wat, more: &str, mut check: impl FnMut(&Runtime, &Envoy, &mut LiveUpstream, bool)) {
    let Some(program) = program() else { return };
    let runtime = Runtime::new().unwrap();
    for http2_upstream in [false, true] {
        let mut upstream = LiveUpstream::start(&runtime, http2_upstream);
        let mut settings = Settings::new(upstream.addr).route("/", wat, &format!("{STREAM}{more}"));
        settings.http2_upstream = http2_upstream;
        let mut envoy = settings.start(&program);
        for http2 in [false, true] {
            check(&runtime, &envoy, &mut upstream, http2);
        }
        envoy.assert_alive();
    }
}

/// A request through Envoy, and both ends of its response.
async fn open(
    envoy: &Envoy,
    upstream: &mut LiveUpstream,
    http2: bool,
    head: &[(&str, &str)],
) -> (Live, Receiver) {
    let (live, receiver) = tokio::join!(upstream.respond(head), Receiver::get(envoy.addr, http2));
    (live, receiver)
}

#[test]
fn what_a_guest_writes_leaves_before_the_next_piece_arrives() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut live, mut client) = open(envoy, upstream, http2, &[("trailer", "x-end")]).await;
            for at in 0..20 {
                let event = format!("Event {at};");
                live.send(event.as_bytes()).await;
                assert_eq!(client.read(event.len()).await, flipped(event.as_bytes()));
            }
            live.end(&[("x-end", "whole")]).await;
            assert_eq!(client.rest().await, Ok((Vec::new(), vec![("x-end".into(), "whole".into())])));
        });
    });
}

/// The resident memory of a process in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

/// Sends `mib` MiB through, checks what arrives, and returns the number of bytes by which Envoy grew. The client waits
/// for `pause` before it reads the first, middle and last MiB.
async fn send_through(
    envoy: &Envoy,
    upstream: &mut LiveUpstream,
    http2: bool,
    mib: usize,
    pause: Duration,
) -> u64 {
    let before = resident(envoy.pid());
    let (mut live, mut client) = open(envoy, upstream, http2, &[]).await;
    let sends = tokio::spawn(async move {
        for at in 0..mib {
            let piece: Vec<u8> = (0..1 << 20).map(|byte| ((byte + at) % 251) as u8).collect();
            live.send(&piece).await;
        }
        live.end(&[]).await;
    });
    let mut most = 0;
    for at in 0..mib {
        if [0, mib / 2, mib - 1].contains(&at) {
            tokio::time::sleep(pause).await;
        }
        let piece = client.read(1 << 20).await;
        let is_right = piece.iter().enumerate().all(|(byte, got)| *got == ((byte + at) % 251) as u8 ^ 32);
        assert!(is_right, "MiB {at} differs");
        most = most.max(resident(envoy.pid()));
    }
    assert_eq!(client.rest().await, Ok((Vec::new(), Vec::new())));
    sends.await.unwrap();
    most.saturating_sub(before)
}

#[test]
fn a_slow_client_holds_the_guest_and_the_upstream_back() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        let grew = runtime.block_on(send_through(envoy, upstream, http2, 96, Duration::from_millis(300)));
        assert!(grew < 48 << 20, "Envoy grew by {} MiB for 96 MiB", grew >> 20);
    });
}

#[test]
fn a_slow_guest_holds_the_upstream_back() {
    let spin = "(global.set $n (i32.const 0))
        (loop $l (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (br_if $l (i32.lt_u (global.get $n) (i32.const 3000000))))";
    with_versions(&flips(spin), r#", "limits": {"deadline": "60s"}"#, |runtime, envoy, upstream, http2| {
        let grew = runtime.block_on(send_through(envoy, upstream, http2, 48, Duration::ZERO));
        assert!(grew < 32 << 20, "Envoy grew by {} MiB for 48 MiB", grew >> 20);
    });
}

#[test]
fn a_failure_after_the_first_write_breaks_the_response_off() {
    with_versions(&fails_after("partly"), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut live, mut client) = open(envoy, upstream, http2, &[]).await;
            live.send(b"original").await;
            assert!(client.rest().await.is_err(), "it ended as if it were whole");
        });
    });
}

#[test]
fn a_failure_later_on_breaks_the_response_off() {
    let traps = "(if (i32.eq (i32.load8_u (i32.const 65536)) (i32.const 0x58)) (then unreachable))";
    with_versions(&flips(traps), r#", "on_failure": "open""#, |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut live, mut client) = open(envoy, upstream, http2, &[]).await;
            live.send(b"good").await;
            assert_eq!(client.read(4).await, b"GOOD");
            live.send(b"x bad").await;
            assert!(client.rest().await.is_err(), "it ended as if it were whole");
        });
    });
}

#[test]
fn an_upstream_that_breaks_off_breaks_the_response_off() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut live, mut client) = open(envoy, upstream, http2, &[]).await;
            live.send(b"good").await;
            assert_eq!(client.read(4).await, b"GOOD");
            live.break_off();
            assert!(client.rest().await.is_err(), "it ended as if it were whole");
        });
    });
}

#[test]
fn a_response_ends_when_the_guest_returns_though_the_upstream_goes_on() {
    let once = buffered().on_response(
        "(drop (call $read_body (i32.const 1) (i32.const 65536) (i32.const 65536)))
         (call $write_body (i32.const 1) {})",
        &["that is all"],
    );
    with_versions(&once, "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut live, mut client) = open(envoy, upstream, http2, &[]).await;
            live.send(b"first").await;
            assert_eq!(client.rest().await, Ok((b"that is all".to_vec(), Vec::new())));
            drop(live);
        });
    });
}

#[test]
fn what_a_guest_writes_before_it_reads_leaves_at_once() {
    let code = "(call $write_body (i32.const 1) {}) (drop (call $read_all (i32.const 1)))
        (call $write_body (i32.const 1) {})";
    let early = buffered().on_response(code, &["early,", "late"]);
    with_versions(&early, "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut live, mut client) = open(envoy, upstream, http2, &[]).await;
            assert_eq!(client.read(6).await, b"early,");
            live.send(b"original").await;
            live.end(&[]).await;
            assert_eq!(client.rest().await, Ok((b"late".to_vec(), Vec::new())));
        });
    });
}

/// Writes 64 KiB `times` times after it has read everything.
fn writes_at_end(times: usize) -> Wat {
    let code = format!(
        "(local $left i32) (drop (call $read_all (i32.const 1))) (local.set $left (i32.const {times}))
         (loop $more (call $write_body (i32.const 1) (i32.const 65536) (i32.const 65536))
           (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))"
    );
    buffered().on_response(&code, &[])
}

#[test]
fn what_a_guest_writes_after_the_end_of_the_original_is_held_up_to_16_mib() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("original");
    let mut envoy = Settings::new(upstream.addr)
        .route("/fits", &writes_at_end(100), STREAM)
        .route("/much", &writes_at_end(300), STREAM)
        .start(&program);
    let response = envoy.get("/fits");
    assert_eq!((response.status(), response.body.len(), response.is_cut), (200, 100 << 16, false));
    let response = envoy.get("/much");
    assert!(response.status() == 500 || response.is_cut, "{} {}", response.status(), response.body.len());
    envoy.assert_alive();
}

#[test]
fn a_client_that_goes_away_leaves_the_instance_usable() {
    let Some(program) = program() else { return };
    let runtime = Runtime::new().unwrap();
    let mut upstream = LiveUpstream::start(&runtime, false);
    // The first byte of memory counts the requests of this instance.
    let counts = "(i32.store8 (i32.const 0) (i32.add (i32.const 1) (i32.load8_u (i32.const 0))))
        (i32.store8 (i32.const 65536) (i32.add (i32.const 48) (i32.load8_u (i32.const 0))))";
    let wat = buffered().on_response(
        &format!(
            "(local $read i64) {counts} (call $write_body (i32.const 1) (i32.const 65536) (i32.const 1))
             (loop $more
               (local.set $read (call $read_body (i32.const 1) (i32.const 65536) (i32.const 65536)))
               (call $write_body (i32.const 1) (i32.const 65536) (i32.wrap_i64 (local.get $read)))
               (br_if $more (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))))"
        ),
        &[],
    );
    let mut envoy = Settings::new(upstream.addr)
        .route("/", &wat, &format!(r#"{STREAM}, "pool": {{"max_idle": 1}}"#))
        .start(&program);
    runtime.block_on(async {
        let mut is_reused = false;
        for at in 0..50 {
            let (mut live, mut client) = open(&envoy, &mut upstream, at % 2 == 0, &[]).await;
            // Abandoned calls end in the background.
            is_reused |= client.read(1).await[0] > b'1';
            live.send(b"more").await;
            assert_eq!(client.read(4).await, b"more");
            drop(client);
            drop(live);
            if is_reused && at > 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(is_reused, "each request had a new instance");
    });
    envoy.assert_alive();
}

#[test]
fn guests_that_stream_and_one_that_does_not_work_in_a_chain() {
    let Some(program) = program() else { return };
    let runtime = Runtime::new().unwrap();
    let upstream = Upstream::start(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nAbc,\r\n4\r\nDef.\r\n0\r\n\r\n".to_vec()
    });
    let settings = Settings::new(upstream.addr);
    let (flip, mark) =
        (flips(""), buffered().on_response("(call $set_header_value (i32.const 1) {} {})", &["x", "y"]));
    let replace = buffered().on_response(
        "(i32.store (i32.const 0) (i32.add (i32.const 48) (call $read_all (i32.const 1))))
         (call $write_body (i32.const 1) (i32.const 0) (i32.const 1))",
        &[],
    );
    let config = |chain: &str| {
        let guests = [
            ("flip", settings.guest("flip", &flip, STREAM)),
            ("again", settings.guest("again", &flip, STREAM)),
            ("mark", settings.guest("mark", &mark, "")),
            ("count", settings.guest("count", &replace, "")),
        ];
        let guests = guests.map(|(name, guest)| format!(r#""{name}": {guest}"#)).join(", ");
        format!(r#"{{"guests": {{{guests}}}, "chain": [{chain}]}}"#)
    };
    let (both, held) = (config(r#""again", "mark", "flip""#), config(r#""count", "flip""#));
    let mut envoy = settings.route_config("/both", &both).route_config("/held", &held).start(&program);
    let response = envoy.get("/both");
    assert_eq!((response.text(), response.header("x")), ("Abc,Def.".into(), Some("y".into())));
    let response = envoy.get("/held");
    assert_eq!((response.text(), response.header("content-length")), ("8".into(), Some("1".into())));
    let http2 = crate::support::exchange_http2(
        &runtime,
        envoy.addr,
        &Outgoing { start: "GET /both".into(), ..Outgoing::default() },
    );
    assert_eq!(http2.text(), "Abc,Def.");
    envoy.assert_alive();
}

#[test]
fn a_response_of_another_guest_goes_through_a_guest_that_streams_as_a_whole() {
    let Some(program) = program() else { return };
    let upstream = Upstream::says("never asked");
    let settings = Settings::new(upstream.addr);
    let flip = settings.guest("flip", &flips(""), STREAM);
    let answers =
        Wat::new().on_request("(call $write_body (i32.const 1) {}) (return (i64.const 0))", &["A reply"]);
    let answers = settings.guest("answers", &answers, "");
    let config =
        format!(r#"{{"guests": {{"flip": {flip}, "answers": {answers}}}, "chain": ["flip", "answers"]}}"#);
    let envoy = settings.route_config("/", &config).start(&program);
    let response = envoy.get("/");
    assert_eq!((response.status(), response.text(), response.is_cut), (200, "a\0REPLY".into(), false));
}

#[test]
fn a_stream_that_computes_for_long_does_not_keep_the_worker_from_others() {
    let Some(program) = program() else { return };
    let runtime = Runtime::new().unwrap();
    let mut upstream = LiveUpstream::start(&runtime, false);
    let forever = "(call $write_body (i32.const 1) {}) (loop $for_ever (br $for_ever))";
    let mut envoy = Settings::new(upstream.addr)
        .route("/plain", &Wat::new(), "")
        .route(
            "/",
            &buffered().on_response(forever, &["one,"]),
            &format!(r#"{STREAM}, "limits": {{"deadline": "20s"}}"#),
        )
        .start(&program);
    runtime.block_on(async {
        let (_computes, mut first) = open(&envoy, &mut upstream, false, &[]).await;
        let plain = Receiver::get_path(envoy.addr, "/plain", true);
        let (mut plain, mut live) = tokio::join!(plain, upstream.respond(&[]));
        live.send(b"plain").await;
        live.end(&[]).await;
        assert_eq!(plain.rest().await, Ok((b"plain".to_vec(), Vec::new())));
        let ended = tokio::time::timeout(Duration::ZERO, first.rest()).await;
        assert!(ended.is_err(), "the worker was blocked until the deadline: {ended:?}");
    });
    envoy.assert_alive();
}

#[test]
fn many_streams_of_one_connection_with_a_slow_reader_do_not_mix() {
    let Some(program) = program() else { return };
    let runtime = Runtime::new().unwrap();
    let body: Vec<u8> = (0..700_000).map(|at| (at % 251) as u8).collect();
    let pieces: Vec<_> = body.chunks(7_001).map(bytes::Bytes::copy_from_slice).collect();
    let upstream = Http2Upstream::start(&runtime, move |_| Outgoing {
        start: "200".into(),
        body: pieces.clone(),
        ..Outgoing::default()
    });
    let mut settings = Settings::new(upstream.addr).route("/", &flips(""), STREAM);
    settings.http2_upstream = true;
    let mut envoy = settings.start(&program);
    runtime.block_on(async {
        let mut clients = Receiver::get_many(envoy.addr, "/", 20).await;
        for client in &mut clients {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(client.rest().await.unwrap().0 == flipped(&body));
        }
    });
    envoy.assert_alive();
}

#[test]
fn a_response_that_has_no_body_stays_as_it_is() {
    let Some(program) = program() else { return };
    let upstream = Upstream::start(|request| match request.path() {
        "/none" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n".to_vec(),
    });
    let envoy = Settings::new(upstream.addr).route("/", &flips(""), STREAM).start(&program);
    assert_eq!(envoy.get("/none").status(), 204);
    let head = exchange(envoy.addr, &request("HEAD / HTTP/1.1"));
    assert_eq!((head.status(), head.is_cut), (200, false));
}

#[test]
fn an_envoy_that_cannot_stream_refuses_the_guest() {
    for program in programs() {
        let (is_fine, said) =
            Settings::new(([127, 0, 0, 1], 9).into()).route("/", &flips(""), STREAM).validate(&program);
        let is_old = is_old(&program);
        assert_eq!(is_fine, !is_old, "{said}");
        assert_eq!(said.contains("`stream` requires Envoy 1.38 or later"), is_old, "{said}");
    }
}
