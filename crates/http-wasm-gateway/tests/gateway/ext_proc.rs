//! What an Envoy sends to its external processor, frame by frame.

use crate::files::{Files, PASSES};
use crate::limits_http2::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, WINDOW_UPDATE, connect, fields, frame, next,
};
use crate::support::{Raw, Server};

const CANCEL: u32 = 8;

/// More frames than a connection of other clients may send: see `a_flood_of_resets_ends_the_connection`.
const MANY: u32 = 5_000;

async fn processor() -> Server {
    let files = Files::new();
    files.write("passes.wat", PASSES);
    let config = "listen = ['127.0.0.1:0']\n[guests.g]\npath = 'passes.wat'\n\
        [[routes]]\nguests = ['g']\next_proc = {}\n";
    Server::start_with(files, config).await
}

/// A length-delimited field of a protobuf message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short");
    assert!(length < 128);
    [&[number << 3 | 2, length], content].concat()
}

/// A head as Envoy sends it, without a body.
fn head(number: u8, headers: &[(&str, &str)]) -> Vec<u8> {
    let headers: Vec<u8> = headers
        .iter()
        .flat_map(|(name, value)| field(1, &[field(1, name.as_bytes()), field(3, value.as_bytes())].concat()))
        .collect();
    field(number, &[field(1, &headers), vec![3 << 3, 1]].concat())
}

/// `request_headers` and `response_headers` of a `ProcessingRequest`.
fn request_head() -> Vec<u8> {
    head(2, &[(":method", "GET"), (":path", "/"), (":authority", "a")])
}

fn response_head() -> Vec<u8> {
    head(3, &[(":status", "200")])
}

fn call(stream: u32) -> Vec<u8> {
    let head = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/envoy.service.ext_proc.v3.ExternalProcessor/Process"),
        (":authority", "p"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]);
    frame(HEADERS, END_HEADERS, stream, &head)
}

fn message(stream: u32, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    frame(DATA, 0, stream, &[&[0], &length[..], message].concat())
}

/// The next message for Envoy, and its stream.
async fn answer(raw: &mut Raw) -> (u32, Vec<u8>) {
    loop {
        let (kind, stream, payload) = next(raw).await.expect("the connection is open");
        assert_ne!(kind, GOAWAY, "the connection ends: {:?}", String::from_utf8_lossy(&payload));
        if kind == DATA && !payload.is_empty() {
            return (stream, payload);
        }
    }
}

/// A connection with a stream whose request has passed.
async fn with_a_request(server: &Server) -> Raw {
    let mut raw = connect(server).await;
    // Open the window, so that no response waits for this client.
    raw.send(frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).await;
    raw.send([call(1), message(1, &request_head())].concat()).await;
    assert_eq!(answer(&mut raw).await.0, 1);
    raw
}

/// Sends the response, which passes too.
async fn respond(raw: &mut Raw) {
    raw.send(message(1, &response_head())).await;
    while answer(raw).await.0 != 1 {}
}

/// The IDs of further streams.
fn streams() -> Vec<u32> {
    (1..=MANY).map(|number| 1 + 2 * number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_envoy_resets_at_once_do_not_end_its_connection() {
    let server = processor().await;
    let mut raw = with_a_request(&server).await;
    let reset = |stream| frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    for some in streams().chunks(500) {
        let sent = some
            .iter()
            .flat_map(|&stream| [call(stream), message(stream, &request_head()), reset(stream)].concat());
        raw.send(sent.collect::<Vec<u8>>()).await;
    }
    respond(&mut raw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_after_the_response_to_a_stream_do_not_end_envoys_connection() {
    let server = processor().await;
    let mut raw = with_a_request(&server).await;
    let body = field(4, &[field(1, b"body"), vec![2 << 3, 1]].concat());
    // The gateway answers immediately, and ignores the rest.
    let invalid = head(2, &[(":method", "GET"), (":path", "^")]);
    for some in streams().chunks(50) {
        let sent = some.iter().flat_map(|&stream| [call(stream), message(stream, &invalid)].concat());
        raw.send(sent.collect::<Vec<u8>>()).await;
        for _ in some {
            assert_ne!(answer(&mut raw).await.0, 1);
        }
        let rest = some
            .iter()
            .flat_map(|&stream| [message(stream, &body), frame(DATA, END_STREAM, stream, &[])].concat());
        raw.send(rest.collect::<Vec<u8>>()).await;
    }
    respond(&mut raw).await;
}
