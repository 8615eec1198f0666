//! What clients may take, over HTTP/2, frame by frame.

use crate::support::{Raw, Server, soon};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that are not kept (RFC 7541 section 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];

fn request(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(&[&GET, more].concat()))
}

async fn connect(server: &Server) -> Raw {
    let mut raw = server.connect().await;
    raw.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    raw
}

/// A frame: type, stream, and payload.
async fn next(raw: &mut Raw) -> Option<(u8, u32, Vec<u8>)> {
    use tokio::io::AsyncReadExt as _;
    let mut head = [0; 9];
    soon(raw.0.read_exact(&mut head)).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    soon(raw.0.read_exact(&mut payload)).await.ok()?;
    Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// The next frame of this type.
async fn wait_for(raw: &mut Raw, kind: u8) -> (u32, Vec<u8>) {
    loop {
        let (found, stream, payload) = next(raw).await.expect("the connection is open");
        if found == kind {
            return (stream, payload);
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

/// The reason in the server's last GOAWAY. The end of the connection may come as a reset.
async fn goodbye(raw: &mut Raw) -> Option<u32> {
    let mut reason = None;
    while let Some((kind, _, payload)) = next(raw).await {
        if kind == GOAWAY {
            reason = Some(number(&payload[4..]));
        }
    }
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_break_the_rules_of_http_2_are_not_answered() {
    let server = Server::echo("").await;
    for field in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
        ("Upper", "case"),
        ("a b", "c"),
        ("content-length", "5"),
        (":path", "/again"),
    ] {
        let mut raw = connect(&server).await;
        raw.send(request(1, &[field])).await;
        let error = loop {
            match next(&mut raw).await.expect("an error") {
                (RST_STREAM, _, payload) => break number(&payload),
                (GOAWAY, _, payload) => break number(&payload[4..]),
                (kind, ..) => assert_ne!(kind, HEADERS, "it is answered: {field:?}"),
            }
        };
        assert_eq!(error, PROTOCOL_ERROR, "{field:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_host_and_not_too_many_fields() {
    let server = Server::echo("limits = { max_headers = 10 }").await;
    let many = vec![("a", "b"); 11];
    for (more, status) in [
        (&[("host", "h")][..], "200"),
        (&[("te", "trailers")], "200"),
        (&[("host", "other")], "400"),
        (&[("host", "h"), ("host", "h")], "400"),
        (&many, "431"),
    ] {
        let mut raw = connect(&server).await;
        raw.send(request(1, more)).await;
        let (_, block) = wait_for(&mut raw, HEADERS).await;
        let indexed = match status {
            "200" => vec![0x88],
            "400" => vec![0x8c],
            // The name from the static table, the value as a text of three bytes, plain or Huffman-coded.
            _ => vec![0x48],
        };
        assert!(block.starts_with(&indexed), "{more:?}: {block:x?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_streams_are_allowed_at_once() {
    let server = Server::echo("limits = { max_http2_streams = 7 }").await;
    let mut raw = connect(&server).await;
    let (_, settings) = wait_for(&mut raw, SETTINGS).await;
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("it is announced");
    assert_eq!(number(&streams[2..]), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_ends_the_connection() {
    let server = Server::echo("").await;
    let mut raw = connect(&server).await;
    let mut flood = Vec::new();
    for stream in (1..2_000).step_by(2) {
        flood.extend(request(stream, &[]));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.0, &flood).await;
    assert_eq!(goodbye(&mut raw).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_that_break_the_rules_ends_the_connection() {
    let server = Server::echo("").await;
    let mut raw = connect(&server).await;
    let flood: Vec<u8> =
        (1..2_000).step_by(2).flat_map(|stream| request(stream, &[("connection", "close")])).collect();
    let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.0, &flood).await;
    assert_eq!(goodbye(&mut raw).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_in_endless_continuations_ends_the_connection() {
    let server = Server::echo("limits = { max_header_size = '64KiB' }").await;
    let mut raw = connect(&server).await;
    let mut flood = frame(HEADERS, END_STREAM, 1, &fields(&GET));
    for _ in 0..1_000 {
        flood.extend(frame(CONTINUATION, 0, 1, &fields(&[("a", "b")])));
    }
    let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.0, &flood).await;
    assert_eq!(goodbye(&mut raw).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_silent_or_lies_idle_is_closed() {
    let server = Server::echo("limits = { header_timeout = '300ms', idle_timeout = '1h' }").await;
    let mut silent = connect(&server).await;
    goodbye(&mut silent).await;
    let server = Server::echo("limits = { header_timeout = '1h', idle_timeout = '300ms' }").await;
    let mut idle = connect(&server).await;
    idle.send(request(1, &[])).await;
    wait_for(&mut idle, HEADERS).await;
    assert_eq!(goodbye(&mut idle).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stands_still_is_answered_with_408() {
    let server = Server::echo("limits = { body_timeout = '300ms' }").await;
    let mut raw = connect(&server).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, &fields(&GET))).await;
    let (_, block) = wait_for(&mut raw, HEADERS).await;
    assert_eq!(block[0], 0x48, "a status that is no common one: {block:x?}");
    wait_for(&mut raw, RST_STREAM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_the_client_does_not_take_ends_the_connection() {
    let server = Server::echo("limits = { body_timeout = '300ms', idle_timeout = '1h' }").await;
    let mut raw = server.connect().await;
    // A window of no bytes: the head may come, but nothing of the body.
    let no_window = [0, 4, 0, 0, 0, 0];
    raw.send([PREFACE, &frame(SETTINGS, 0, 0, &no_window), &request(1, &[])].concat()).await;
    wait_for(&mut raw, HEADERS).await;
    goodbye(&mut raw).await;
}
