//! How much Envoy and the guest hold of a response.

use std::time::Duration;

use tokio::runtime::Runtime;

use super::{STREAM, buffered, flipped, flips, open, open_flipped, program, with_versions};
use crate::support::{Envoy, Http2Upstream, Live, LiveUpstream, Outgoing, Receiver, Settings, Upstream, Wat};

/// The resident memory of a process in bytes.
pub(super) fn resident(pid: u32) -> u64 {
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
        assert!(grew < 40 << 20, "Envoy grew by {} MiB for 48 MiB", grew >> 20);
    });
}

/// Runs `before`, writes 64 KiB `times` times, and runs `after`.
fn writes_between(before: &str, times: usize, after: &str) -> Wat {
    let code = format!(
        "(local $left i32) {before} (local.set $left (i32.const {times}))
         (loop $more (call $write_body (i32.const 1) (i32.const 65536) (i32.const 65536))
           (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
         {after}"
    );
    buffered().on_response(&code, &[])
}

/// Writes 64 KiB `times` times after it has read everything.
fn writes_at_end(times: usize) -> Wat {
    writes_between("(drop (call $read_all (i32.const 1)))", times, "")
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

/// Runs `request` while bytes continue to pass through an older message, so that this one isn't evicted.
pub(super) async fn beside<T>(from: &mut Live, to: &mut Receiver, request: impl Future<Output = T>) -> T {
    let mut request = std::pin::pin!(request);
    loop {
        tokio::select! {
            result = &mut request => return result,
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        let piece = vec![b'x'; 16 << 10];
        from.send(&piece).await;
        assert!(to.read(piece.len()).await == flipped(&piece));
    }
}

#[test]
fn what_is_held_of_responses_counts_towards_the_memory_for_bodies() {
    let Some(program) = program() else { return };
    let runtime = Runtime::new().unwrap();
    for http2 in [false, true] {
        let mut upstream = LiveUpstream::start(&runtime, http2);
        let mut settings = Settings::new(upstream.addr)
            .route("/fits", &writes_at_end(20), STREAM)
            .route("/much", &writes_at_end(100), STREAM)
            .route("/", &flips(""), STREAM);
        settings.http2_upstream = http2;
        settings.env.push(("HTTP_WASM_BODY_MEMORY", "4 MiB".into()));
        let mut envoy = settings.start(&program);
        runtime.block_on(async {
            // The oldest request always gets what it asks for.
            let (mut live, mut client) = open_flipped(&envoy, &mut upstream, http2).await;
            let refused = async {
                let asks = Receiver::get_path(envoy.addr, "/much", http2);
                let (mut original, mut refused) = tokio::join!(upstream.respond(&[]), asks);
                original.end(&[]).await;
                refused.rest().await
            };
            let error = beside(&mut live, &mut client, refused).await.unwrap_err();
            assert!(error.contains("503"), "{error}");
            // Each of them has its memory for itself.
            for _ in 0..5 {
                let fits = async {
                    let asks = Receiver::get_path(envoy.addr, "/fits", http2);
                    let (mut original, mut response) = tokio::join!(upstream.respond(&[]), asks);
                    original.end(&[]).await;
                    response.rest().await
                };
                let response = beside(&mut live, &mut client, fits).await;
                assert!(response == Ok((vec![0; 20 << 16], Vec::new())), "{http2}");
            }
            live.end(&[]).await;
            assert_eq!(client.rest().await, Ok((Vec::new(), Vec::new())));
        });
        envoy.assert_alive();
    }
}

#[test]
fn a_guest_that_writes_more_than_16_mib_between_two_reads_goes_on_with_the_next_piece() {
    let much = writes_between(
        "(drop (call $read_body (i32.const 1) (i32.const 8192) (i32.const 64)))",
        600,
        "(drop (call $read_all (i32.const 1)))",
    );
    with_versions(&much, "", |runtime, envoy, upstream, http2| {
        runtime.block_on(async {
            let (mut live, mut client) = open(envoy, upstream, http2, &[]).await;
            // Each piece sends between 1 and 16 MiB.
            let written = 600 << 16;
            for at in 0..written >> 20 {
                live.send(b"piece").await;
                let received = client.read(1 << 20).await;
                assert!(received.iter().all(|byte| *byte == 0), "MiB {at} differs");
            }
            live.end(&[]).await;
            assert_eq!(client.rest().await, Ok((vec![0; written % (1 << 20)], Vec::new())));
        });
    });
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
