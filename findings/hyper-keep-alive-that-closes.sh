#!/usr/bin/env bash
# Expected: A response says `connection: keep-alive` to an HTTP/1.0 client only if the connection stays open after it. A
#           body of unknown length ends an HTTP/1.0 connection, so such a response says nothing or `close`.
# Actual:   hyper's server says `connection: keep-alive`, sends no length, and ends the body by closing.
# Impact:   A client that believes the head sends its next request on a connection that is about to close. A server that
#           forwards responses of unknown length to old clients has to remove the field itself, and can't: hyper adds it
#           after the service has returned.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "server"
version = "0.1.0"
edition = "2024"
[dependencies]
bytes = "=1.11.0"
futures-util = { version = "=0.3.31", default-features = false }
http-body-util = "=0.1.3"
hyper = { version = "=1.12.0", features = ["http1", "server"] }
hyper-util = { version = "=0.1.19", features = ["tokio"] }
tokio = { version = "=1.54.1", features = ["io-util", "net", "rt", "macros"] }
[workspace]
TOML
cat > src/main.rs <<'RS'
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (mut client, server) = tokio::io::duplex(4096);
    let service = service_fn(|_: Request<Incoming>| async {
        // Two frames, so the length isn't known.
        let frames = ["a", "b"].map(|data| Ok::<_, std::io::Error>(Frame::data(Bytes::from(data))));
        Ok::<_, std::io::Error>(Response::new(StreamBody::new(futures_util::stream::iter(frames))))
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let exchange = async {
        client.write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        println!("{}", response.replace("\r\n", " | "));
    };
    let _ = tokio::join!(connection, exchange);
}
RS
output=$(cargo run --quiet 2>cargo.log) || { tail -n 20 cargo.log; exit 1; }
echo "tool:      hyper 1.12.0"
echo "expected:  no promise to keep the connection, since the body ends with it"
echo "actual:    the promise, and then the end of the connection"
echo "seen:      $output"
case $output in
  "HTTP/1.0 200 OK"*"connection: keep-alive"*"| ab") case $output in *length*) false ;; *) echo "stands" ;; esac ;;
  *) false ;;
esac || { echo "changed"; exit 1; }
