//! How much is held of a request, of one that Envoy may repeat, and of a response that waits for it.

use std::time::Duration;

use tokio::runtime::Runtime;

use super::super::flipped;
use super::super::limits::{beside, resident};
use super::{COMPUTE, STREAM, capable, flips, open, with_versions};
use crate::support::{LiveUpstream, Receiver, Settings, Upstream, Wat};

/// The length of a long body.
const MIB: usize = 96;

/// One MiB of it.
fn piece(at: usize) -> Vec<u8> {
    (0..1 << 20).map(|byte| ((byte + at) % 251) as u8).collect()
}

#[test]
fn a_slow_upstream_holds_the_guest_and_the_client_back() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let before = resident(envoy.pid());
            let (mut upload, mut response, mut asked) = open(envoy, upstream, http2).await;
            let sends = tokio::spawn(async move {
                for at in 0..MIB {
                    upload.send(&piece(at)).await;
                }
                upload.end(&[]).await;
                upload
            });
            let mut most = 0;
            for at in 0..MIB {
                if [0, MIB / 2, MIB - 1].contains(&at) {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                let received = asked.body.read(1 << 20).await;
                assert!(received == flipped(&piece(at)), "MiB {at} differs");
                most = most.max(resident(envoy.pid()));
            }
            assert_eq!(asked.body.rest().await, Ok((Vec::new(), Vec::new())));
            let _upload = sends.await.unwrap();
            let (_, mut live) = asked.respond(&[]).await;
            live.end(&[]).await;
            assert_eq!(response.rest().await, Ok((Vec::new(), Vec::new())));
            let grew = most.saturating_sub(before) >> 20;
            assert!(grew < 48, "Envoy grew by {grew} MiB for {MIB} MiB");
        });
    });
}

#[test]
fn a_response_that_is_too_long_to_wait_fails_the_request() {
    with_versions(&flips(""), "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let before = resident(envoy.pid());
            let (_upload, mut response, asked) = open(envoy, upstream, http2).await;
            let (mut body, mut live) = asked.respond(&[]).await;
            let sends = tokio::spawn(async move {
                for at in 0..MIB {
                    live.send(&piece(at)).await;
                }
            });
            let refused = response.rest().await.unwrap_err();
            assert!(refused.contains("500"), "{refused}");
            assert!(body.rest().await.is_err(), "it ended as if it were whole");
            let grew = resident(envoy.pid()).saturating_sub(before) >> 20;
            assert!(grew < 64, "Envoy grew by {grew} MiB for {MIB} MiB");
            sends.await.unwrap();
        });
    });
}

#[test]
fn what_is_held_of_a_response_that_waits_counts_towards_the_memory_for_bodies() {
    let Some(program) = capable() else { return };
    let runtime = Runtime::new().unwrap();
    for http2 in [false, true] {
        let mut upstream = LiveUpstream::start(&runtime, http2);
        let mut settings = Settings::new(upstream.addr).route("/", &flips(""), STREAM);
        settings.http2_upstream = http2;
        settings.env.push(("HTTP_WASM_BODY_MEMORY", "4 MiB".into()));
        let mut envoy = settings.start(&program);
        runtime.block_on(async {
            // The oldest request always gets what it asks for.
            let (mut older, mut response, mut asked) = open(&envoy, &mut upstream, http2).await;
            for (mib, fits) in [(8, false), (1, true), (1, true)] {
                let request = async {
                    let (mut upload, mut response, asked) = open(&envoy, &mut upstream, http2).await;
                    let (mut body, mut live) = asked.respond(&[]).await;
                    let sends = tokio::spawn(async move {
                        for at in 0..mib {
                            live.send(&piece(at)).await;
                        }
                        live.send(b"end").await;
                        live
                    });
                    if !fits {
                        return response.rest().await.unwrap_err();
                    }
                    let mut live = sends.await.unwrap();
                    upload.end(&[]).await;
                    assert_eq!(body.rest().await, Ok((Vec::new(), Vec::new())));
                    live.end(&[]).await;
                    format!("{} bytes", response.rest().await.unwrap().0.len())
                };
                let outcome = beside(&mut older, &mut asked.body, request).await;
                let expected = if fits { format!("{} bytes", (mib << 20) + 3) } else { "503".to_owned() };
                assert!(outcome.contains(&expected), "{outcome}");
            }
            older.end(&[]).await;
            assert_eq!(asked.body.rest().await, Ok((Vec::new(), Vec::new())));
            let (_, mut live) = asked.respond(&[]).await;
            live.end(&[]).await;
            assert_eq!(response.rest().await, Ok((Vec::new(), Vec::new())));
        });
        envoy.assert_alive();
    }
}

#[test]
fn a_guest_whose_write_waits_too_long_after_the_response_counts_as_not_read() {
    let much = Wat::new().on_request(
        "(local $left i32) (drop (call $read_body (i32.const 0) (i32.const 8192) (i32.const 64)))
         (local.set $left (i32.const 600))
         (loop $more (call $write_body (i32.const 0) (i32.const 65536) (i32.const 65536))
           (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
         (drop (call $read_all (i32.const 0)))",
        &[],
    );
    with_versions(&much, r#", "limits": {"stream_stall": "200ms"}"#, |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut upload, mut response) = Receiver::post(envoy.addr, "/", http2).await;
            upload.send(b"piece").await;
            let asked = upstream.request().await;
            // By then, the guest has written as much as is held.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let (_body, mut live) = asked.respond(&[]).await;
            live.send(b"early").await;
            // Neither side sends more.
            assert_eq!(response.read(5).await, b"early");
            live.end(&[]).await;
            assert_eq!(response.rest().await, Ok((Vec::new(), Vec::new())));
        });
    });
}

#[test]
fn a_request_whose_awaited_trailers_do_not_come_in_time_fails() {
    let replaces = Wat::new()
        .on_request("(call $set_header_value (i32.const 0) {} {})", &["content-type", "application/grpc"])
        .on_request(
            "(drop (call $read_body (i32.const 0) (i32.const 65536) (i32.const 65536)))
             (call $write_body (i32.const 0) {})",
            &["that is all"],
        );
    with_versions(
        &replaces,
        r#", "limits": {"replay_bytes": "1 KiB"}"#,
        |runtime, envoy, upstream, http2| {
            runtime.block_on(async {
                let (mut upload, mut response) = Receiver::post(envoy.addr, "/", http2).await;
                upload.send(b"original").await;
                let mut asked = upstream.request().await;
                assert_eq!(asked.body.read(11).await, b"that is all");
                upload.send(&[b'x'; 2048]).await;
                let failed = response.rest().await.unwrap_err();
                assert!(failed.contains("500"), "{failed}");
                assert!(asked.body.rest().await.is_err(), "it ended as if it were whole");
            });
        },
    );
}

#[test]
fn a_request_that_envoy_keeps_to_repeat_it_arrives_once_and_is_repeated_whole() {
    let Some(program) = capable() else { return };
    let runtime = Runtime::new().unwrap();
    let retries = r#", "retry_policy": {"retry_on": "5xx", "num_retries": 1}"#;
    let redirects = r#", "internal_redirect_policy": {"max_internal_redirects": 1}"#;
    for http2 in [false, true] {
        for policy in [retries, redirects] {
            let mut upstream = LiveUpstream::start(&runtime, http2);
            let mut settings = Settings::new(upstream.addr);
            (settings.policy, settings.http2_upstream) = (policy, http2);
            let mut envoy = settings
                .route("/", &flips(COMPUTE), &format!(r#"{STREAM}, "limits": {{"deadline": "60s"}}"#))
                .start(&program);
            runtime.block_on(async {
                let (mut upload, mut response, mut asked) = open(&envoy, &mut upstream, http2).await;
                for _ in 0..3 {
                    upload.send(b"More").await;
                    assert_eq!(asked.body.read(4).await, b"mORE");
                }
                upload.end(&[]).await;
                assert_eq!(asked.body.rest().await, Ok((Vec::new(), Vec::new())));
                if policy == retries {
                    asked.refuse().await;
                    asked = upstream.request().await;
                    assert_eq!(asked.body.rest().await, Ok((b"GOODmOREmOREmORE".to_vec(), Vec::new())));
                }
                let (_, mut live) = asked.respond(&[]).await;
                live.end(&[]).await;
                assert_eq!(response.rest().await, Ok((Vec::new(), Vec::new())));
            });
            envoy.assert_alive();
        }
    }
}

#[test]
fn a_request_that_is_too_long_to_be_repeated_arrives_once() {
    let Some(program) = capable() else { return };
    let upstream = Upstream::says("ok");
    let mut settings = Settings::new(upstream.addr);
    settings.policy = r#", "retry_policy": {"retry_on": "5xx"}"#;
    let envoy = settings.route("/", &flips(""), STREAM).start(&program);
    let body: Vec<u8> = (0..5).flat_map(piece).collect();
    assert_eq!(envoy.post("/", &body).status(), 200);
    assert!(upstream.got().pop().unwrap().body == flipped(&body));
}
