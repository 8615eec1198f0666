//! Guests that rewrite a response while it is sent.

mod limits;
mod requests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::support;
use crate::support::{
    Envoy, Live, LiveUpstream, Outgoing, Receiver, Settings, Upstream, Wat, exchange, programs, request,
};

/// The settings of a guest that streams.
const STREAM: &str = r#""stream": "response", "allow": ["undeclared-stream"]"#;

/// Code that flips the case of each letter of a message, piece by piece. Before each piece it runs `code`.
fn flip(message: usize, code: &str) -> String {
    format!(
        "(local $read i64) (local $at i32) (local $end i32)
         (loop $more
           (local.set $read (call $read_body (i32.const {message}) (i32.const 65536) (i32.const 65536)))
           (local.set $at (i32.const 65536))
           (local.set $end (i32.add (i32.const 65536) (i32.wrap_i64 (local.get $read))))
           (block $done (loop $next
             (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
             (i32.store8 (local.get $at) (i32.xor (i32.const 32) (i32.load8_u (local.get $at))))
             (local.set $at (i32.add (local.get $at) (i32.const 1)))
             (br $next)))
           {code}
           (call $write_body (i32.const {message}) (i32.const 65536) (i32.wrap_i64 (local.get $read)))
           (br_if $more (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))))"
    )
}

/// Flips the letters of the response.
fn flips(code: &str) -> Wat {
    buffered().on_response(&flip(1, code), &[])
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
fn with_versions(wat: &Wat, more: &str, check: impl FnMut(&Runtime, &Envoy, &mut LiveUpstream, bool)) {
    let Some(program) = program() else { return };
    with_versions_of(&program, wat, &format!("{STREAM}{more}"), check);
}

/// The same with this Envoy, and these settings of the guest.
fn with_versions_of(
    program: &Path,
    wat: &Wat,
    settings: &str,
    mut check: impl FnMut(&Runtime, &Envoy, &mut LiveUpstream, bool),
) {
    let runtime = Runtime::new().unwrap();
    for http2_upstream in [false, true] {
        let mut upstream = LiveUpstream::start(&runtime, http2_upstream);
        let mut settings = Settings::new(upstream.addr).route("/", wat, settings);
        settings.http2_upstream = http2_upstream;
        let mut envoy = settings.start(program);
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

/// The same, after a guest that flips letters has handled the first piece.
async fn open_flipped(envoy: &Envoy, upstream: &mut LiveUpstream, http2: bool) -> (Live, Receiver) {
    let (mut live, mut client) = open(envoy, upstream, http2, &[]).await;
    live.send(b"good").await;
    assert_eq!(client.read(4).await, b"GOOD");
    (live, client)
}

/// The configuration of a chain of some of these guests, given by name and settings.
fn chain_config(guests: &[(&str, String)], chain: &str) -> String {
    let guests: Vec<_> = guests.iter().map(|(name, guest)| format!(r#""{name}": {guest}"#)).collect();
    format!(r#"{{"guests": {{{}}}, "chain": [{chain}]}}"#, guests.join(", "))
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
            let (mut live, mut client) = open_flipped(envoy, upstream, http2).await;
            live.send(b"x bad").await;
            assert!(client.rest().await.is_err(), "it ended as if it were whole");
        });
    });
}

#[test]
fn an_upstream_that_breaks_off_breaks_the_response_off() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (live, mut client) = open_flipped(envoy, upstream, http2).await;
            live.abort();
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
    writes_before_it_reads("");
}

#[test]
fn what_a_guest_writes_before_it_computes_for_long_and_reads_leaves_when_it_reads() {
    writes_before_it_reads(
        "(global.set $n (i32.const 0))
        (loop $spin (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (br_if $spin (i32.lt_u (global.get $n) (i32.const 30000000))))",
    );
}

/// Sends the upstream's body only once the client has what the guest writes before `between` and a read.
fn writes_before_it_reads(between: &str) {
    let code = format!(
        "(call $write_body (i32.const 1) {{}}) {between} (drop (call $read_all (i32.const 1)))
        (call $write_body (i32.const 1) {{}})"
    );
    let early = buffered().on_response(&code, &["early,", "late"]);
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
        chain_config(&guests, chain)
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
