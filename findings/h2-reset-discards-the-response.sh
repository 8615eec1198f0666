#!/usr/bin/env bash
# Expected: A server that has a complete response to a request whose body it doesn't want calls `send_response` with
#           `end_of_stream`, then `send_reset(NO_ERROR)`, which is what RFC 9113 section 8.1 describes: the client gets
#           the response, then learns that it may stop sending.
# Actual:   The reset overtakes the response, which is still queued and is discarded. The client gets
#           RST_STREAM(NO_ERROR) alone, that is, no response and an error without a reason. If the server drops its
#           handles of the stream instead of calling `send_reset`, the client gets both.
# Impact:   A gateway that refuses an upload early (413, 401) in the documented way loses the refusal. Neither call
#           fails, and with a request that has ended, the response arrives.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir -p "$work/src"; cd "$work"
cat > Cargo.toml <<'TOML'
[package]
name = "resets"
version = "0.1.0"
edition = "2021"
[dependencies]
bytes = "=1.12.2"
h2 = "=0.4.20"
http = "=1.5.0"
tokio = { version = "=1.54.1", features = ["rt", "io-util", "time"] }
[profile.dev]
debug = false
TOML
cat > src/main.rs <<'RS'
use std::time::Duration;

use http::{Request, Response};

/// What a client gets whose request body hasn't ended when the server responds with 413.
async fn try_with(resets: bool) -> (String, String) {
    let (client, server) = tokio::io::duplex(65536);
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(server).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let mut stream = respond.send_response(Response::builder().status(413).body(()).unwrap(), true).unwrap();
            if resets {
                stream.send_reset(h2::Reason::NO_ERROR);
            }
            drop((request, respond, stream));
        }
    });
    let (mut client, connection) = h2::client::handshake(client).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    let request = Request::post("http://localhost/").body(()).unwrap();
    let (response, mut upload) = client.send_request(request, false).unwrap();
    upload.send_data(bytes::Bytes::from_static(b"begin"), false).unwrap();
    let response = match tokio::time::timeout(Duration::from_secs(20), response).await.expect("no answer") {
        Ok(response) => response.status().as_str().to_owned(),
        Err(error) => format!("no response: {error}"),
    };
    let reset = std::future::poll_fn(|cx| upload.poll_reset(cx));
    let reset = match tokio::time::timeout(Duration::from_secs(20), reset).await.expect("no reset") {
        Ok(reason) => format!("{reason:?}"),
        Err(error) => format!("none: {error}"),
    };
    (response, reset)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (resets, drops) = runtime.block_on(async { (try_with(true).await, try_with(false).await) });
    println!("seen:      send_response, send_reset:     {} / reset: {}", resets.0, resets.1);
    println!("seen:      send_response, handles dropped: {} / reset: {}", drops.0, drops.1);
    let is_unchanged = resets.0.starts_with("no response") && drops == ("413".into(), "NO_ERROR".into());
    std::process::exit(i32::from(!is_unchanged));
}
RS
CARGO_TARGET_DIR="$work/target" cargo build --quiet
echo "tool:      h2 0.4.20"
echo "expected:  413 and RST_STREAM(NO_ERROR) in both cases"
echo "actual:    send_reset discards the queued response"
timeout 60 target/debug/resets && echo "stands" || { echo "changed"; exit 1; }
