#!/usr/bin/env bash
# Expected: hyper frames a handler's response identically in HTTP/1.1 and HTTP/2: no body after HEAD or with 204 and
#           304, no empty pieces, and a wrong content-length is an error.
# Actual:   HTTP/1.1 has these guards, HTTP/2 doesn't. There, the body of a response to HEAD is sent, and so is that of
#           a 204 or a 304; each empty piece of a body becomes an empty DATA frame; a content-length of 5 can be sent
#           with 2 bytes and a clean end. In HTTP/1.1, a body that is too long is silently truncated to its
#           content-length.
# Impact:   A guest that answers GET and HEAD identically, or replaces a body and leaves content-length, passes every
#           test over HTTP/1.1. Over HTTP/2, curl and Node end the stream with PROTOCOL_ERROR, and peers count empty
#           DATA frames as abuse. A layer between guests and hyper must drop bodies and empty pieces and correct lengths
#           itself.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile hpack==4.2.0
mkdir -p "$work/src"; cd "$work"
cat > Cargo.toml <<'TOML'
[package]
name = "server"
version = "0.1.0"
edition = "2021"
[dependencies]
bytes = "=1.12.2"
h2 = "=0.4.20"
http = "=1.5.0"
hyper = { version = "=1.12.0", features = ["server", "http1", "http2"] }
hyper-util = { version = "=0.1.21", features = ["tokio"] }
tokio = { version = "=1.54.1", features = ["rt", "net", "time"] }
[profile.dev]
debug = false
TOML
cat > src/main.rs <<'RS'
use std::{collections::VecDeque, convert::Infallible, pin::Pin, task::{Context, Poll}, time::Duration};
use bytes::Bytes;
use hyper::{body::{Body, Frame, Incoming}, server::conn::{http1, http2}, service::service_fn, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

struct Pieces(VecDeque<&'static str>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(Bytes::from(piece)))))
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Pieces>, Infallible> {
    let response = Response::builder();
    let (response, pieces) = match request.uri().path() {
        "/204" => (response.status(204), ["hello"].into()),
        "/304" => (response.status(304), ["hello"].into()),
        "/empty-pieces" => (response, ["he", "", "", "llo"].into()),
        "/too-short" => (response.header("content-length", 5), ["he"].into()),
        "/too-long" => (response.header("content-length", 5), ["hello", "world"].into()),
        _ => (response, ["hello"].into()),
    };
    Ok(response.body(Pieces(pieces)).unwrap())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for http2 in [false, true] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            println!("{}", listener.local_addr().unwrap().port());
            tokio::spawn(async move {
                loop {
                    let io = TokioIo::new(listener.accept().await.unwrap().0);
                    tokio::spawn(async move {
                        let service = service_fn(answer);
                        match http2 {
                            true => http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await,
                            false => http1::Builder::new().serve_connection(io, service).await,
                        }
                        .unwrap_or_else(|error| eprintln!("{error}"))
                    });
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
}
RS
cat > try.py <<'PY'
import socket, subprocess, sys, hpack

server = subprocess.Popen([sys.argv[1]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
port1, port2 = (int(server.stdout.readline()) for _ in range(2))

def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

def http1(method, path):
    """The body's bytes, chunked coding included, or None if no response came."""
    with socket.create_connection(("127.0.0.1", port1), timeout=30) as s:
        s.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        data = b"".join(iter(lambda: s.recv(65536), b""))
    return data.partition(b"\r\n\r\n")[2] if data else None

def http2(method, path):
    """What each DATA frame holds; the last ended the stream cleanly."""
    fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    data, pieces = b"", []
    with socket.create_connection(("127.0.0.1", port2), timeout=30) as s:
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 5, 1, hpack.Encoder().encode(fields)))
        while True:
            data += s.recv(65536)
            while len(data) >= 9 and len(data) >= 9 + (length := int.from_bytes(data[:3], "big")):
                kind, flags, payload, data = data[3], data[4], data[9 : 9 + length], data[9 + length :]
                if kind == 0:
                    pieces.append(payload)
                if kind in (0, 1) and flags & 1:
                    return pieces
                if kind in (3, 7):
                    return "reset"

cases = [("HEAD", "/"), ("GET", "/204"), ("GET", "/304"), ("GET", "/empty-pieces"), ("GET", "/too-short"), ("GET", "/too-long")]
seen = {f"{method} {path}": (http1(method, path), http2(method, path)) for method, path in cases}
for case, (one, two) in seen.items():
    print(f"seen:      {case:18} HTTP/1.1: {str(one):42} HTTP/2: {two}")
server.kill()
text = {case: b"".join(two) for case, (one, two) in seen.items() if two != "reset"}
sys.exit(not (
    all(seen[case][0] == b"" and text.get(case) == b"hello" for case in ("HEAD /", "GET /204", "GET /304"))
    and seen["GET /empty-pieces"][1].count(b"") >= 2 and seen["GET /empty-pieces"][0] == b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    and seen["GET /too-short"][0] is None and text["GET /too-short"] == b"he"
    and seen["GET /too-long"][0] == b"hello" and text["GET /too-long"] == b"helloworld"))
PY
CARGO_TARGET_DIR="$work/target" cargo build --quiet
echo "tool:      hyper 1.12.0 with h2 0.4.20"
echo "expected:  the same handler is framed alike"
echo "actual:    only HTTP/1.1 drops or refuses what may not be sent"
timeout 60 python try.py target/debug/server && echo "stands" || { echo "changed"; exit 1; }
