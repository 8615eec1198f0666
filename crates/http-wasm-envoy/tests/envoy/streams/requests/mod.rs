//! Guests that rewrite a request while it is sent.

mod held;

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::{chain_config, flip, flipped, with_versions_of};
use crate::support::{
    Envoy, Live, LiveRequest, LiveUpstream, Receiver, Settings, Upstream, Wat, can_stream_requests, exchange,
    program, programs, request,
};

/// The settings of a guest that streams requests.
const STREAM: &str = r#""stream": "request", "allow": ["undeclared-stream"]"#;

/// The Envoy to test, unless it is too old to stream requests.
fn capable() -> Option<PathBuf> {
    program().filter(|program| can_stream_requests(program))
}

fn with_versions(wat: &Wat, more: &str, check: impl FnMut(&Runtime, &Envoy, &mut LiveUpstream, bool)) {
    let Some(program) = capable() else { return };
    with_versions_of(&program, wat, &format!("{STREAM}{more}"), check);
}

/// Flips the letters of the request.
fn flips(code: &str) -> Wat {
    Wat::new().on_request(&flip(0, code), &[])
}

/// Reads once, writes this, and runs `code`.
fn writes_then(text: &'static str, code: &str, texts: &[&str]) -> Wat {
    let before = "(drop (call $read_body (i32.const 0) (i32.const 65536) (i32.const 65536)))
        (call $write_body (i32.const 0) {})";
    Wat::new().on_request(before, &[text]).on_request(code, texts)
}

/// Computes for so long that the guest moves to another thread.
const COMPUTE: &str = "(global.set $n (i32.const 0))
    (loop $l (global.set $n (i32.add (global.get $n) (i32.const 1)))
      (br_if $l (i32.lt_u (global.get $n) (i32.const 30000000))))";

/// A request whose first piece, "good", a guest has flipped: the client's end, the response, and the upstream's end.
async fn open(envoy: &Envoy, upstream: &mut LiveUpstream, http2: bool) -> (Live, Receiver, LiveRequest) {
    let (mut upload, response) = Receiver::post(envoy.addr, "/", http2).await;
    upload.send(b"good").await;
    let mut asked = upstream.request().await;
    assert_eq!(asked.body.read(4).await, b"GOOD");
    (upload, response, asked)
}

/// The rest of the request and its end arrive at the upstream, whose empty response reaches the client.
async fn completes(mut asked: LiveRequest, mut response: Receiver, rest: &[u8]) {
    assert_eq!(asked.body.rest().await, Ok((rest.to_vec(), Vec::new())));
    let (_, mut live) = asked.respond(&[]).await;
    live.end(&[]).await;
    assert_eq!(response.rest().await, Ok((Vec::new(), Vec::new())));
}

#[test]
fn what_a_guest_writes_of_a_request_leaves_before_the_next_piece_arrives() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut upload, mut response, mut asked) = open(envoy, upstream, http2).await;
            assert!(!asked.head.contains("content-length"), "{}", asked.head);
            for at in 0..20 {
                let event = format!("Event {at};");
                upload.send(event.as_bytes()).await;
                assert_eq!(asked.body.read(event.len()).await, flipped(event.as_bytes()));
            }
            upload.end(&[("x-end", "whole")]).await;
            assert_eq!(asked.body.rest().await, Ok((Vec::new(), vec![("x-end".into(), "whole".into())])));
            let (_, mut live) = asked.respond(&[]).await;
            live.send(b"fine").await;
            live.end(&[]).await;
            assert_eq!(response.rest().await, Ok((b"fine".to_vec(), Vec::new())));
        });
    });
}

#[test]
fn an_early_response_waits_until_the_guest_has_written_the_request() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut upload, mut response, asked) = open(envoy, upstream, http2).await;
            let (mut body, mut live) = asked.respond(&[]).await;
            let early = vec![b'e'; 1 << 20];
            live.send(&early).await;
            for _ in 0..3 {
                upload.send(b"More").await;
                assert_eq!(body.read(4).await, b"mORE");
                let received = tokio::time::timeout(Duration::from_millis(20), response.read(1)).await;
                assert!(received.is_err(), "the response didn't wait");
            }
            upload.end(&[]).await;
            assert_eq!(body.rest().await, Ok((Vec::new(), Vec::new())));
            live.send(b"late").await;
            live.end(&[]).await;
            assert_eq!(response.read(1 << 20).await, early);
            assert_eq!(response.rest().await, Ok((b"late".to_vec(), Vec::new())));
        });
    });
}

#[test]
fn after_an_upstream_that_answers_early_and_whole_the_guest_reads_the_end() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut upload, mut response, asked) = open(envoy, upstream, http2).await;
            let (_body, mut live) = asked.respond(&[]).await;
            live.send(b"enough").await;
            live.end(&[]).await;
            // The client hasn't ended the request.
            assert_eq!(response.rest().await, Ok((b"enough".to_vec(), Vec::new())));
            upload.send(b"too late").await;
        });
    });
}

#[test]
fn a_guest_that_responds_after_it_has_written_aborts_the_request() {
    let code =
        "(call $set_status_code (i32.const 403)) (call $write_body (i32.const 1) {}) (return (i64.const 0))";
    with_versions(&writes_then("partly", code, &["no"]), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut upload, mut response) = Receiver::post(envoy.addr, "/", http2).await;
            upload.send(b"original").await;
            let refused = response.rest().await.unwrap_err();
            assert!(refused.contains("403"), "{refused}");
            // Whether the head was sent before isn't known.
            upload.abort();
            drop(response);
            let next = tokio::time::timeout(Duration::from_millis(200), upstream.request()).await;
            if let Ok(mut asked) = next {
                assert!(asked.body.rest().await.is_err(), "it ended as if it were whole");
            }
        });
    });
}

#[test]
fn a_guest_that_responds_or_fails_later_aborts_the_request_that_the_upstream_is_reading() {
    let at_x =
        |code: &str| format!("(if (i32.eq (i32.load8_u (i32.const 65536)) (i32.const 0x58)) (then {code}))");
    let responds = at_x("(call $set_status_code (i32.const 403)) (return (i64.const 0))");
    for (code, status) in [(responds, "403"), (at_x("unreachable"), "500")] {
        for answers in [false, true] {
            with_versions(&flips(&code), r#", "on_failure": "open""#, |runtime, envoy, upstream, http2| {
                runtime.block_on(async {
                    let (mut upload, mut response, asked) = open(envoy, upstream, http2).await;
                    let (mut body, live) = match answers {
                        true => {
                            let (body, mut live) = asked.respond(&[]).await;
                            live.send(b"never seen").await;
                            (body, Some(live))
                        }
                        false => (asked.body, None),
                    };
                    upload.send(b"x bad").await;
                    let refused = response.rest().await.unwrap_err();
                    assert!(refused.contains(status), "{refused}");
                    assert!(body.rest().await.is_err(), "it ended as if it were whole");
                    drop(live);
                });
            });
        }
    }
}

#[test]
fn a_client_that_goes_away_aborts_the_request() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (upload, response, mut asked) = open(envoy, upstream, http2).await;
            drop(response);
            upload.abort();
            assert!(asked.body.rest().await.is_err(), "it ended as if it were whole");
        });
    });
}

#[test]
fn after_an_upstream_that_breaks_off_the_guest_reads_the_end_and_handles_the_error_of_envoy() {
    let marks = flips("")
        .on_request("(drop (call $enable_features (i32.const 2)))", &[])
        .on_response("(call $set_header_value (i32.const 1) {} {})", &["x-handled", "yes"]);
    with_versions(&marks, "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut upload, mut response, asked) = open(envoy, upstream, http2).await;
            drop(asked);
            // Nothing more comes from the client.
            let failed = response.rest().await.unwrap_err();
            assert!(failed.contains("503") && failed.contains("x-handled"), "{failed}");
            upload.send(b"too late").await;
        });
    });
}

#[test]
fn a_guest_that_returns_before_the_end_of_the_request_replaces_all_of_it() {
    with_versions(&writes_then("that is all", "", &[]), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut upload, response) = Receiver::post(envoy.addr, "/", http2).await;
            upload.send(b"original").await;
            let mut asked = upstream.request().await;
            assert_eq!(asked.body.read(11).await, b"that is all");
            for _ in 0..3 {
                upload.send(b"more").await;
            }
            upload.end(&[]).await;
            completes(asked, response, b"").await;
        });
    });
}

#[test]
fn what_a_guest_writes_before_it_reads_the_request_leaves_at_once() {
    let early = Wat::new().on_request(
        "(call $write_body (i32.const 0) {}) (drop (call $read_all (i32.const 0)))
         (call $write_body (i32.const 0) {})",
        &["early,", "late"],
    );
    with_versions(&early, "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut upload, response) = Receiver::post(envoy.addr, "/", http2).await;
            let mut asked = upstream.request().await;
            assert_eq!(asked.body.read(6).await, b"early,");
            upload.send(b"original").await;
            upload.end(&[]).await;
            completes(asked, response, b"late").await;
        });
    });
}

#[test]
fn a_request_without_a_body_gets_the_one_that_a_guest_writes() {
    let Some(program) = capable() else { return };
    let upstream = Upstream::says("ok");
    let writes = Wat::new().on_request(
        "(call $write_body (i32.const 0) {}) (call $write_body (i32.const 0) {})",
        &["one,", "two"],
    );
    // More than Envoy's own limit.
    let long = Wat::new().on_request(
        "(local $left i32) (local.set $left (i32.const 100))
         (loop $more (call $write_body (i32.const 0) (i32.const 65536) (i32.const 65536))
           (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))",
        &[],
    );
    let mut envoy = Settings::new(upstream.addr)
        .route("/long", &long, STREAM)
        .route("/", &writes, STREAM)
        .start(&program);
    let response = exchange(envoy.addr, &request("GET / HTTP/1.1"));
    assert_eq!((response.status(), response.text()), (200, "ok".into()));
    assert_eq!(upstream.got().pop().unwrap().text(), "one,two");
    let response = exchange(envoy.addr, &request("GET /long HTTP/1.1"));
    assert_eq!((response.status(), response.text()), (200, "ok".into()));
    assert_eq!(upstream.got().pop().unwrap().body.len(), 100 << 16);
    envoy.assert_alive();
}

#[test]
fn a_guest_can_rewrite_both_directions() {
    let Some(program) = capable() else { return };
    let both = flips("")
        .on_request("(drop (call $enable_features (i32.const 2)))", &[])
        .on_response(&flip(1, ""), &[]);
    let settings = r#""stream": "both", "allow": ["undeclared-stream"]"#;
    with_versions_of(&program, &both, settings, |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut upload, mut response, asked) = open(envoy, upstream, http2).await;
            // The response waits for the end of the request, and then streams.
            let (mut body, mut live) = asked.respond(&[]).await;
            live.send(b"Early").await;
            upload.end(&[]).await;
            assert_eq!(body.rest().await, Ok((Vec::new(), Vec::new())));
            assert_eq!(response.read(5).await, b"eARLY");
            for _ in 0..3 {
                live.send(b"Event").await;
                assert_eq!(response.read(5).await, b"eVENT");
            }
            live.end(&[]).await;
            assert_eq!(response.rest().await, Ok((Vec::new(), Vec::new())));
        });
    });
}

#[test]
fn guests_that_stream_requests_and_one_that_does_not_work_in_a_chain() {
    let Some(program) = capable() else { return };
    let upstream = Upstream::says("ok");
    let settings = Settings::new(upstream.addr);
    let (flip, mark) =
        (flips(""), Wat::new().on_request("(call $set_header_value (i32.const 0) {} {})", &["x", "y"]));
    let replace = Wat::new().on_request(
        "(i32.store (i32.const 0) (i32.add (i32.const 48) (call $read_all (i32.const 0))))
         (call $write_body (i32.const 0) (i32.const 0) (i32.const 1))",
        &[],
    );
    let refuse = Wat::new().on_request("(call $set_status_code (i32.const 403)) (return (i64.const 0))", &[]);
    let config = |chain: &str| {
        let guests = [
            ("flip", settings.guest("flip", &flip, STREAM)),
            ("again", settings.guest("again", &flip, STREAM)),
            ("mark", settings.guest("mark", &mark, "")),
            ("count", settings.guest("count", &replace, "")),
            ("refuse", settings.guest("refuse", &refuse, "")),
        ];
        chain_config(&guests, chain)
    };
    let (both, held) = (config(r#""again", "mark", "flip""#), config(r#""flip", "count""#));
    let refused = config(r#""again", "flip", "refuse""#);
    let mut envoy = settings
        .route_config("/both", &both)
        .route_config("/held", &held)
        .route_config("/refused", &refused)
        .start(&program);
    assert_eq!(envoy.post("/both", b"Abc,Def.").status(), 200);
    let got = upstream.got().pop().unwrap();
    assert_eq!((got.text(), got.header("x")), ("Abc,Def.".into(), Some("y".into())));
    assert_eq!(envoy.post("/held", b"Abc,Def.").status(), 200);
    let got = upstream.got().pop().unwrap();
    assert_eq!((got.text(), got.header("content-length")), ("8".into(), Some("1".into())));
    assert_eq!(envoy.post("/refused", b"Abc,Def.").status(), 403);
    assert!(upstream.got().is_empty());
    envoy.assert_alive();
}

#[test]
fn a_guest_that_computes_for_long_while_it_writes_does_not_keep_the_worker_from_others() {
    with_versions(
        &flips(COMPUTE),
        r#", "limits": {"deadline": "60s"}"#,
        |runtime, envoy, upstream, http2| {
            runtime.block_on(async {
                let (mut upload, response, mut asked) = open(envoy, upstream, http2).await;
                for _ in 0..3 {
                    upload.send(b"Event").await;
                    assert_eq!(asked.body.read(5).await, b"eVENT");
                }
                upload.end(&[]).await;
                completes(asked, response, b"").await;
            });
        },
    );
}

#[test]
fn a_request_whose_end_comes_with_its_last_bytes_arrives_whole() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut upload, response, mut asked) = open(envoy, upstream, http2).await;
            upload.send(b"More").await;
            assert_eq!(asked.body.read(4).await, b"mORE");
            upload.end_with(b"Last").await;
            completes(asked, response, b"lAST").await;
        });
    });
}

#[test]
fn an_envoy_that_cannot_stream_requests_refuses_the_guest() {
    for program in programs() {
        let (is_fine, said) =
            Settings::new(([127, 0, 0, 1], 9).into()).route("/", &flips(""), STREAM).validate(&program);
        let can_stream = can_stream_requests(&program);
        assert_eq!(is_fine, can_stream, "{said}");
        assert_eq!(
            said.contains("`stream` requires Envoy 1.39 or later for requests"),
            !can_stream,
            "{said}"
        );
    }
}
