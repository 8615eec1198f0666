//! Limits for HTTP/2 clients, frame by frame.

use crate::files::Files;
use crate::support::{Raw, Server, soon};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

const PROTOCOL_ERROR: u32 = 1;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without indexing (RFC 7541 section 6.2.2).
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];

fn request(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    request_with(stream, &[&GET, more].concat())
}

/// A request without content, with these fields.
pub(crate) fn request_with(stream: u32, all: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields(all))
}

pub(crate) async fn connect(server: &Server) -> Raw {
    let mut raw = server.connect().await;
    raw.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    raw
}

/// A frame: type, stream, and payload.
pub(crate) async fn next(raw: &mut Raw) -> Option<(u8, u32, Vec<u8>)> {
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

pub(crate) fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().expect("four bytes"))
}

/// The reason in the server's last GOAWAY. The end of the connection may come as a reset.
async fn goaway_reason(raw: &mut Raw) -> Option<u32> {
    let mut reason = None;
    while let Some((kind, _, payload)) = next(raw).await {
        if kind == GOAWAY {
            reason = Some(number(&payload[4..]));
        }
    }
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_malformed_in_http_2_are_not_answered() {
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
async fn white_space_around_a_value_makes_a_request_malformed() {
    let server = Server::echo("").await;
    let send = async |more: &[(&str, &str)], trailers: &[(&str, &str)]| {
        let mut raw = connect(&server).await;
        let end = if trailers.is_empty() { END_STREAM } else { 0 };
        raw.send(frame(HEADERS, END_HEADERS | end, 1, &fields(&[&GET, more].concat()))).await;
        if !trailers.is_empty() {
            raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(trailers))).await;
        }
        wait_for(&mut raw, HEADERS).await.1[0]
    };
    let (ok, bad_request) = (0x88, 0x8c);
    assert_eq!(send(&[("x", "a b"), ("cookie", "a"), ("cookie", "b")], &[("x-sum", "1")]).await, ok);
    for field in [("x", " a"), ("x", "a\t"), ("x", " ")] {
        assert_eq!(send(&[field], &[]).await, bad_request, "{field:?}");
        assert_eq!(send(&[], &[field]).await, bad_request, "trailer {field:?}");
    }
    assert_eq!(send(&[("cookie", "a "), ("cookie", "b")], &[]).await, bad_request);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_an_empty_scheme_gets_400() {
    let server = Server::echo("").await;
    let mut raw = connect(&server).await;
    let head = [(":method", "GET"), (":scheme", ""), (":path", "/"), (":authority", "h")];
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&head))).await;
    assert_eq!(wait_for(&mut raw, HEADERS).await.1[0], 0x8c);
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
            // The name from the static table, and a value of three bytes, plain or Huffman-coded.
            _ => vec![0x48],
        };
        assert!(block.starts_with(&indexed), "{more:?}: {block:x?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_concurrent_streams_is_limited() {
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
    assert_eq!(goaway_reason(&mut raw).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_malformed_requests_ends_the_connection() {
    let server = Server::echo("").await;
    let mut raw = connect(&server).await;
    let flood: Vec<u8> =
        (1..2_000).step_by(2).flat_map(|stream| request(stream, &[("connection", "close")])).collect();
    let _ = tokio::io::AsyncWriteExt::write_all(&mut raw.0, &flood).await;
    assert_eq!(goaway_reason(&mut raw).await, Some(ENHANCE_YOUR_CALM));
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
    assert_eq!(goaway_reason(&mut raw).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_or_idle_connection_is_closed() {
    let server = Server::echo("limits = { header_timeout = '300ms', idle_timeout = '1h' }").await;
    let mut silent = connect(&server).await;
    goaway_reason(&mut silent).await;
    let server = Server::echo("limits = { header_timeout = '1h', idle_timeout = '300ms' }").await;
    let mut idle = connect(&server).await;
    idle.send(request(1, &[])).await;
    wait_for(&mut idle, HEADERS).await;
    assert_eq!(goaway_reason(&mut idle).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_body_gets_408() {
    let server = Server::echo("limits = { body_timeout = '300ms' }").await;
    let mut raw = connect(&server).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, &fields(&GET))).await;
    let (_, block) = wait_for(&mut raw, HEADERS).await;
    assert_eq!(block[0], 0x48, "a status that is no common one: {block:x?}");
    wait_for(&mut raw, RST_STREAM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_response_that_the_client_does_not_read_is_reset() {
    let server = Server::echo("limits = { body_timeout = '300ms', idle_timeout = '1h' }").await;
    let mut raw = server.connect().await;
    // With a window of 0 bytes, the head can be sent, but nothing of the body.
    let window = |bytes: u32| frame(SETTINGS, 0, 0, &[&[0, 4], &bytes.to_be_bytes()[..]].concat());
    raw.send([PREFACE, &window(0), &request(1, &[])].concat()).await;
    assert_eq!(wait_for(&mut raw, HEADERS).await.0, 1);
    assert_eq!(wait_for(&mut raw, RST_STREAM).await, (1, INTERNAL_ERROR.to_be_bytes().to_vec()));
    raw.send([window(65_535), request(3, &[])].concat()).await;
    assert_eq!(wait_for(&mut raw, DATA).await.0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_below_the_minimum_rate_is_reset() {
    let settings = "limits = { body_timeout = '200ms', min_response_rate = '1MiB' }";
    let server = Server::echo(settings).await;
    let mut raw = server.connect().await;
    let window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]);
    raw.send([PREFACE, &window, &request(1, &[])].concat()).await;
    // The client accepts one byte at a time, so that it never stalls for long.
    let take = frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
    loop {
        match next(&mut raw).await.expect("the connection is open") {
            (DATA, ..) => {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                raw.send(&take).await;
            }
            (RST_STREAM, stream, payload) => {
                break assert_eq!((stream, number(&payload)), (1, INTERNAL_ERROR));
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_window_is_the_sum_of_the_stream_windows() {
    let server = Server::echo("limits = { max_http2_streams = 20, http2_stream_window = '128KiB' }").await;
    let mut raw = connect(&server).await;
    let (_, settings) = wait_for(&mut raw, SETTINGS).await;
    let window = settings.chunks(6).find(|setting| setting[..2] == [0, 4]).expect("it is announced");
    assert_eq!(number(&window[2..]), 128 * 1024);
    let (stream, more) = wait_for(&mut raw, WINDOW_UPDATE).await;
    assert_eq!((stream, number(&more) + 65_535), (0, 20 * 128 * 1024));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_before_the_end_of_a_body_is_followed_by_a_reset_with_no_error() {
    let server = Server::start("listen = ['127.0.0.1:0']\n[[routes]]\nrespond = { status = 404 }\n").await;
    let mut raw = connect(&server).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, &fields(&GET))).await;
    assert_eq!(wait_for(&mut raw, HEADERS).await.0, 1);
    assert_eq!(wait_for(&mut raw, RST_STREAM).await, (1, vec![0; 4]));
    // What the client has sent meanwhile no longer counts against the connection's window.
    let piece = frame(DATA, 0, 1, &[0; 16_000]);
    raw.send(piece.repeat(4)).await;
    raw.send(request(3, &[])).await;
    assert_eq!(wait_for(&mut raw, HEADERS).await.0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_100_continue_when_its_body_is_read() {
    let server = Server::echo("").await;
    let mut raw = connect(&server).await;
    let expects = [&GET[..], &[("expect", "100-continue"), ("content-length", "3")]].concat();
    raw.send(frame(HEADERS, END_HEADERS, 1, &fields(&expects))).await;
    let (_, interim) = wait_for(&mut raw, HEADERS).await;
    assert_ne!(interim[0], 0x88, "an interim response: {interim:x?}");
    raw.send(frame(DATA, END_STREAM, 1, b"abc")).await;
    let (_, block) = wait_for(&mut raw, HEADERS).await;
    assert_eq!(block[0], 0x88, "200: {block:x?}");

    let server = Server::start("listen = ['127.0.0.1:0']\n[[routes]]\nrespond = { status = 404 }\n").await;
    let mut raw = connect(&server).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, &fields(&expects))).await;
    let (_, block) = wait_for(&mut raw, HEADERS).await;
    assert_eq!(block[0], 0x8d, "404 at once: {block:x?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_in_many_fields_are_joined_before_limits_and_routes_see_them() {
    let server = Server::start(
        "[[listen]]\naddress = '127.0.0.1:0'\nlimits = { max_headers = 5 }\n\
         [[routes]]\nheaders = { cookie = 'a=1; b=2; c=3; d=4; e=5; f=6' }\nrespond = { status = 404 }\n\
         [[routes]]\nbackend = 'hello'\n",
    )
    .await;
    let mut raw = connect(&server).await;
    let crumbs = ["a=1", "b=2", "c=3", "d=4", "e=5", "f=6"].map(|crumb| ("cookie", crumb));
    raw.send(request(1, &crumbs)).await;
    let (_, block) = wait_for(&mut raw, HEADERS).await;
    assert_eq!(block[0], 0x8d, "404: {block:x?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_flood_of_control_frames_ends_the_connection() {
    let server = Server::echo("").await;
    let ping = frame(PING, 0, 0, &[1; 8]);
    let mut raw = connect(&server).await;
    raw.send(ping.repeat(900)).await;
    for _ in 0..900 {
        wait_for(&mut raw, PING).await;
    }
    let priority = frame(2, 0, 1, &[0, 0, 0, 0, 1]);
    for flood in [ping, priority, frame(SETTINGS, 0, 0, &[])] {
        let mut raw = connect(&server).await;
        let (mut receiving, mut sending) = raw.0.into_split();
        let flood = tokio::spawn(async move {
            let flood = flood.repeat(100);
            while tokio::io::AsyncWriteExt::write_all(&mut sending, &flood).await.is_ok() {}
        });
        let mut all = Vec::new();
        let _ = soon(tokio::io::AsyncReadExt::read_to_end(&mut receiving, &mut all)).await;
        let calm = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
        let found = all.windows(17).find(|part| part[..9] == calm).expect("GOAWAY");
        assert_eq!(number(&found[13..]), ENHANCE_YOUR_CALM);
        soon(flood).await.expect("it ends");
        raw = connect(&server).await;
        drop(raw);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_preface_is_answered_in_http_2() {
    for listen in ["", "http = '2'"] {
        let server = Server::echo(listen).await;
        let mut raw = server.connect().await;
        raw.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
        assert_eq!(goaway_reason(&mut raw).await, Some(PROTOCOL_ERROR), "{listen}");
    }
    let server = Server::echo("http = '2'").await;
    let mut raw = server.connect().await;
    raw.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(goaway_reason(&mut raw).await, Some(PROTOCOL_ERROR));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_start_with_settings_is_closed() {
    let server = Server::echo("").await;
    for first in [frame(PING, 0, 0, &[1; 8]), request(1, &[]), frame(SETTINGS, 1, 0, &[])] {
        let mut raw = server.connect().await;
        raw.send([PREFACE, &first].concat()).await;
        assert_eq!(goaway_reason(&mut raw).await, Some(PROTOCOL_ERROR), "{first:x?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_gets_431() {
    let server = Server::echo("limits = { max_header_size = '8KiB' }").await;
    let mut raw = connect(&server).await;
    let large = "x".repeat(100);
    let many: Vec<_> = (0..70).map(|_| ("x", &*large)).collect();
    raw.send(request(1, &many)).await;
    let (_, block) = wait_for(&mut raw, HEADERS).await;
    assert_eq!(block[0], 0x48, "a status that is no common one: {block:x?}");
}

/// Reads the request body to the end.
const READS: &str = r#"(module
  (import "http_handler" "read_body" (func $read (param i32 i32 i32) (result i64)))
  (memory (export "memory") 2)
  (func (export "handle_request") (result i64)
    (loop $more
      (br_if $more (i64.eqz (i64.shr_u (call $read (i32.const 0) (i32.const 0) (i32.const 65536)) (i64.const 32)))))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32)))"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_many_requests_leaves_room_for_other_connections() {
    // A quarter of 20 is reserved, so 15 are admitted.
    many_leave_room("max_requests = 20", 18, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_many_requests_leaves_memory_for_instances_to_other_connections() {
    // Room for 16 instances, of which a quarter is reserved.
    many_leave_room("guest_memory_budget = '2MiB'", 30, 18).await;
}

/// Sends this many uploads without their content on one connection, of which `refused` are refused.
async fn many_leave_room(setting: &str, uploads: u32, refused: usize) {
    let config = format!(
        "listen = ['127.0.0.1:0']\n[server]\n{setting}\n[guests.reads]\npath = 'reads.wat'\n\
         [[routes]]\nguests = ['reads']\nbackend = 'echo'\n"
    );
    let files = Files::new();
    files.write("reads.wat", READS);
    let server = Server::start_with(files, &config).await;
    let mut greedy = connect(&server).await;
    let post =
        |stream| frame(HEADERS, END_HEADERS, stream, &fields(&[&[(":method", "POST")], &GET[1..]].concat()));
    let others_are_served = async || {
        for _ in 0..3 {
            let response = server.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
            assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        }
    };
    // A connection's first four requests may use what is reserved. They are admitted before the others are sent.
    greedy.send((0..4).flat_map(|request| post(2 * request + 1)).collect::<Vec<u8>>()).await;
    others_are_served().await;
    greedy.send((4..uploads).flat_map(|request| post(2 * request + 1)).collect::<Vec<u8>>()).await;
    // Which ones depends on scheduling.
    for _ in 0..refused {
        let (_, block) = wait_for(&mut greedy, HEADERS).await;
        assert_ne!(block[0], 0x88, "the status is 200");
    }
    others_are_served().await;
}
