//! Requests that exceed the drain timeout.

use std::time::{Duration, Instant};

use http_wasm_gateway::Gateway;
use tokio::sync::oneshot;

use crate::files::Files;
use crate::limits_http2::{
    DATA, INTERNAL_ERROR, PREFACE, RST_STREAM, SETTINGS, frame, next, number, request_with,
};
use crate::support::{Raw, soon, upstream};

/// An upstream that starts a response to `/half`, and doesn't respond to anything else.
async fn stalls() -> String {
    upstream(async |mut raw| {
        if raw.read_until("\r\n\r\n").await.starts_with("GET /half") {
            raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
        }
        raw.read_bytes_to_end().await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_streams_that_exceed_the_drain_timeout_are_reset_before_the_connection_ends() {
    let files = Files::new();
    let config = format!(
        "listen = ['127.0.0.1:0']\nserver.drain_timeout = '300ms'\n\
         [upstreams.up]\naddresses = ['{}']\n[[routes]]\nupstream = 'up'\n",
        stalls().await
    );
    let config = files.load(&config).unwrap_or_else(|faults| panic!("{faults}"));
    let gateway = Gateway::build(config).await.expect("the gateway starts");
    let (ready, addresses) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let serving = tokio::spawn(gateway.serve_until(stopped, move |all| {
        ready.send(all[0].addr).expect("it is waited for");
    }));
    let addr = addresses.await.expect("the gateway says where it listens");
    let mut client = Raw(tokio::net::TcpStream::connect(addr).await.expect("it accepts"));
    let get = |stream, path| {
        let head = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "h")];
        request_with(stream, &head)
    };
    client.send([PREFACE, &frame(SETTINGS, 0, 0, &[]), &get(1, "/half"), &get(3, "/waits")].concat()).await;
    while next(&mut client).await.expect("the connection is open").0 != DATA {}
    drop(stop);
    let began = Instant::now();
    // The client acknowledges nothing.
    let mut resets = Vec::new();
    while let Some((kind, stream, payload)) = next(&mut client).await {
        if kind == RST_STREAM {
            resets.push((stream, number(&payload)));
        }
    }
    resets.sort_unstable();
    assert_eq!(resets, [(1, INTERNAL_ERROR), (3, INTERNAL_ERROR)]);
    soon(serving).await.expect("it doesn't panic").expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
