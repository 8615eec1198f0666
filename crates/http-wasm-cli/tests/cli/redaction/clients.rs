//! Clients that read slowly, hang up and reconnect, and curl.

use std::process::Command;
use std::time::Duration;

use http_body_util::BodyExt as _;

use super::events::{SECRET, event, events};
use super::splits::{fetch, get, requested};
use super::upstream::{self, Answer};
use super::{gateway, guests};
use crate::support::{Raw, Upstream, soon};

#[tokio::test(flavor = "multi_thread")]
async fn each_event_arrives_redacted_before_the_next_is_sent() {
    for guest in guests() {
        let upstream = Upstream::bind().await;
        let gateway = gateway(&guest, upstream.addr(), true);
        for is_http2 in [false, true] {
            let response = get(gateway.addr, "/", is_http2, &[]);
            let serve = async {
                let mut server = upstream.accept().await;
                server.read_until("\r\n\r\n").await;
                server
                    .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
                    .await;
                // The head is sent with the first event.
                server.send(event(1, 0).0).await;
                server
            };
            let (response, mut server) = tokio::join!(response, serve);
            let mut body = response.into_body();
            let mut received = String::new();
            for at in 0..50 {
                let (_, expected) = event(1, at);
                while received.len() < expected.len() {
                    let frame = soon(body.frame()).await.expect("more events").expect("a whole response");
                    received.push_str(&String::from_utf8_lossy(&frame.into_data().expect("no trailers")));
                }
                assert_eq!(received, expected, "nothing else was sent yet");
                received.clear();
                server.send(event(1, at + 1).0).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_gets_all_of_a_long_stream_which_is_not_held() {
    const SIZE: usize = 32 << 20;
    let upstream = upstream::start(|head| Answer { seed: None, ..requested(head) }).await;
    let Some(guest) = guests().into_iter().next() else { return };
    let gateway = gateway(&guest, upstream, true);
    let (_, expected) = events(5, 0, SIZE);
    fetch(gateway.addr, "/5/1000/0", false, false).await;
    let before = gateway.resident();
    for is_http2 in [false, true] {
        let mut body = get(gateway.addr, &format!("/5/{SIZE}/0"), is_http2, &[]).await.into_body();
        let (mut at, mut most) = (0, before);
        while let Some(frame) = soon(body.frame()).await {
            let data = frame.expect("a whole response").into_data().expect("no trailers");
            assert!(expected.as_bytes()[at..].starts_with(&data), "it differs after {at} bytes");
            // A pause in each quarter.
            if at / (SIZE / 4) != (at + data.len()) / (SIZE / 4) {
                tokio::time::sleep(Duration::from_millis(300)).await;
                most = most.max(gateway.resident());
            }
            at += data.len();
        }
        assert_eq!(at, expected.len());
        if let (Some(before), Some(most)) = (before, most) {
            assert!(most - before < 16 << 10, "it grew by {} KiB", most - before);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_continues_where_it_was() {
    let upstream = upstream::start(|head| {
        let last = head.split("last-event-id: ").nth(1).and_then(|rest| rest.split('\r').next());
        let first = last.map_or(0, |last| last.parse::<usize>().expect("a number") + 1);
        Answer { body: events(9, first, 3_000_000).0.concat().into_bytes(), is_gzip: false, seed: Some(9) }
    })
    .await;
    for guest in guests() {
        let gateway = gateway(&guest, upstream, true);
        let mut next = 0;
        for round in 0..20 {
            let mut client = Raw::connect(gateway.addr).await;
            let last = if next > 0 { format!("Last-Event-ID: {}\r\n", next - 1) } else { String::new() };
            client.send(format!("GET / HTTP/1.0\r\nHost: h\r\n{last}\r\n")).await;
            // Wherever this ends, the client hangs up.
            let wanted = event(9, next + 10 + round).1;
            let received = client.read_until(&wanted).await;
            drop(client);
            let body = received.split_once("\r\n\r\n").expect("a head").1;
            let expected: String = (next..=next + 10 + round).map(|at| event(9, at).1).collect();
            assert!(body.starts_with(&expected) && !body.contains(SECRET), "round {round}: {body}");
            next += 11 + round;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
async fn curl_gets_the_redacted_stream_compressed_or_not() {
    if !Command::new("curl").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: there is no curl");
        return;
    }
    let upstream = upstream::start(requested).await;
    for guest in guests() {
        let gateway = gateway(&guest, upstream, true);
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            for (compressed, coding) in [(true, 1), (true, 0), (false, 1), (false, 0)] {
                let url = format!("http://{}/3/200000/{coding}", gateway.addr);
                let mut curl = Command::new("curl");
                curl.args(["-sS", "--max-time", "60", version, &url]);
                if compressed {
                    curl.arg("--compressed");
                }
                let output = tokio::task::spawn_blocking(move || curl.output()).await.expect("it runs");
                let output = output.expect("curl runs");
                assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
                let (_, expected) = events(3, 0, 200_000);
                assert!(
                    output.stdout == expected.as_bytes(),
                    "{version}, {compressed}, {coding}: it differs"
                );
            }
        }
    }
}
