//! A guest that rewrites event streams, between an upstream that sends events one by one and clients of both HTTP
//! versions.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use http::Request;
use http_wasm_gateway::Gateway;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::files::Files;
use crate::support::{Raw, Server, eventually, soon};

/// Replaces each digit in a response with "#", and fails at "!".
const REDACTS: &str = r#"(module
  (@custom "http-wasm-stream" "")
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
  (memory (export "memory") 2)
  (func $start (drop (call $enable_features (i32.const 2))))
  (start $start)
  (func (export "handle_request") (result i64) (i64.const 1))
  (func (export "handle_response") (param i32 i32) (local $read i64) (local $at i32)
    (loop $next
      (local.set $read (call $read_body (i32.const 1) (i32.const 0) (i32.const 65536)))
      (local.set $at (i32.wrap_i64 (local.get $read)))
      (block $done (loop $byte
        (br_if $done (i32.eqz (local.get $at)))
        (local.set $at (i32.sub (local.get $at) (i32.const 1)))
        (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0x21)) (then unreachable))
        (if (i32.lt_u (i32.sub (i32.load8_u (local.get $at)) (i32.const 0x30)) (i32.const 10))
          (then (i32.store8 (local.get $at) (i32.const 0x23))))
        (br $byte)))
      (call $write_body (i32.const 1) (i32.const 0) (i32.wrap_i64 (local.get $read)))
      (br_if $next (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))))))"#;

/// An upstream that answers a request with an event stream.
struct Upstream {
    url: String,
    connections: mpsc::UnboundedReceiver<TcpStream>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are ports");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (accepted, connections) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = accepted.send(stream);
            }
        });
        Self { url, connections }
    }

    /// Starts the response to the next request.
    async fn answers(&mut self, fields: &str) -> Events {
        let mut raw = Raw(soon(self.connections.recv()).await.expect("it listens"));
        raw.read_until("\r\n\r\n").await;
        raw.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n{fields}\r\n"
        ))
        .await;
        Events(raw)
    }
}

/// A response that is being sent.
struct Events(Raw);

impl Events {
    async fn send(&mut self, piece: impl AsRef<[u8]>) {
        let piece = piece.as_ref();
        self.0.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
    }

    async fn end(mut self, trailers: &str) {
        self.0.send(format!("0\r\n{trailers}\r\n")).await;
    }

    /// Waits until the gateway has closed the connection.
    async fn closes(mut self) {
        let mut rest = [0; 64];
        while !matches!(soon(self.0.0.read(&mut rest)).await, Ok(0) | Err(_)) {}
    }
}

fn config(settings: &str, route: &str, upstream: &str) -> String {
    format!(
        "listen = ['127.0.0.1:0']\n[guests.redact]\npath = 'guest.wat'\nstream = 'response'\n{settings}\n\
         [upstreams.llm]\naddresses = ['{upstream}']\n\
         [[routes]]\nguests = ['redact']\nupstream = 'llm'\n{route}\n"
    )
}

async fn serve(settings: &str, route: &str, upstream: &Upstream) -> Server {
    let files = Files::new();
    files.write("guest.wat", REDACTS);
    Server::start_with(files, &config(settings, route, &upstream.url)).await
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nAccept-Encoding: gzip\r\n\r\n";

async fn http2(server: &Server) -> h2::client::SendRequest<bytes::Bytes> {
    let stream = TcpStream::connect(server.addr).await.expect("the server accepts");
    let (client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    client
}

/// Sends a GET request. Its connection stays open as long as the client exists.
async fn get_http2(
    server: &Server,
    fields: &[(&str, &str)],
) -> (h2::client::SendRequest<bytes::Bytes>, h2::client::ResponseFuture) {
    let mut client = http2(server).await;
    let request = fields
        .iter()
        .fold(Request::get("http://h/"), |request, (name, value)| request.header(*name, *value))
        .body(())
        .expect("it is valid");
    let (response, _) = client.send_request(request, true).expect("it is sent");
    (client, response)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_arrives_before_the_next_one_is_sent() {
    let mut upstream = Upstream::start().await;
    let server = serve("", "", &upstream).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    let mut events = upstream.answers("Trailer: x-sum\r\n").await;
    for word in ["one", "two", "three"] {
        events.send(format!("data: 42 {word}\n\n")).await;
        let received = client.read_until(&format!("data: ## {word}\n\n")).await;
        // The head has a date, which may contain any number.
        assert!(!received.contains("data: 42"), "{received}");
        if word == "one" {
            let head = received.to_ascii_lowercase();
            assert!(
                head.contains("transfer-encoding: chunked") && !head.contains("content-length"),
                "{head}"
            );
            assert!(head.contains("trailer: x-sum"), "{head}");
        }
    }
    events.end("x-sum: 7\r\n").await;
    assert!(client.read_until("\r\n\r\n").await.to_ascii_lowercase().ends_with("0\r\nx-sum: 7\r\n\r\n"));
    // The connection can be reused.
    client.send(GET).await;
    let mut events = upstream.answers("").await;
    events.send("data: 1\n\n").await;
    client.read_until("data: #\n\n").await;
    events.end("").await;
    client.read_until("0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_arrives_over_http_2_too_and_trailers_after_them() {
    let mut upstream = Upstream::start().await;
    let server = serve("", "", &upstream).await;
    let (_client, response) = get_http2(&server, &[("te", "trailers")]).await;
    let mut events = upstream.answers("Trailer: x-sum\r\n").await;
    events.send("data: 42 first\n\n").await;
    let mut body = soon(response).await.expect("a response").into_body();
    for (sent, expected) in [("data: 42 first\n\n", "data: ## first\n\n"), ("data: 7\n\n", "data: #\n\n")] {
        if !sent.contains("first") {
            events.send(sent).await;
        }
        let data = soon(body.data()).await.expect("an event").expect("an event");
        assert_eq!(data, expected);
        body.flow_control().release_capacity(data.len()).expect("it was received");
    }
    events.end("x-sum: 7\r\n").await;
    assert!(soon(body.data()).await.is_none());
    let trailers = soon(body.trailers()).await.expect("it ends well").expect("trailers");
    assert_eq!(trailers["x-sum"], "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_events_are_rewritten_one_by_one() {
    let mut upstream = Upstream::start().await;
    let server = serve("bodies = 'decoded'", "", &upstream).await;
    let (_client, response) = get_http2(&server, &[("accept-encoding", "gzip")]).await;
    let mut events = upstream.answers("Content-Encoding: gzip\r\n").await;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    let mut coded = |text: &str| {
        encoder.write_all(text.as_bytes()).and_then(|()| encoder.flush()).expect("memory can be written");
        std::mem::take(encoder.get_mut())
    };
    events.send(coded("data: 1\n\n")).await;
    let response = soon(response).await.expect("a response");
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let (mut body, mut decoder) = (response.into_body(), GzDecoder::new(Vec::new()));
    for (sent, expected) in
        [("", "data: #\n\n"), ("data: 22\n\n", "data: ##\n\n"), ("data: 3\n\n", "data: #\n\n")]
    {
        if !sent.is_empty() {
            events.send(coded(sent)).await;
        }
        while decoder.get_ref().len() < expected.len() {
            let data = soon(body.data()).await.expect("an event").expect("an event");
            body.flow_control().release_capacity(data.len()).expect("it was received");
            decoder.write_all(&data).and_then(|()| decoder.flush()).expect("it is gzip");
        }
        assert_eq!(String::from_utf8_lossy(&std::mem::take(decoder.get_mut())), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_the_stream_of_the_upstream() {
    let mut upstream = Upstream::start().await;
    let server = serve("", "", &upstream).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    let mut events = upstream.answers("").await;
    events.send("data: 1\n\n").await;
    client.read_until("data: #\n\n").await;
    drop(client);
    events.closes().await;
    let (_client, response) = get_http2(&server, &[]).await;
    let mut events = upstream.answers("").await;
    events.send("data: 1\n\n").await;
    drop(soon(response).await.expect("a response"));
    events.closes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_whose_guest_fails_is_broken_off() {
    let mut upstream = Upstream::start().await;
    let server = serve("on_failure = 'open'", "", &upstream).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    let mut events = upstream.answers("").await;
    events.send("data: 1\n\n").await;
    client.read_until("data: #\n\n").await;
    events.send("data: 2!\n\n").await;
    let rest = client.read_to_end().await;
    assert!(!rest.contains('2') && !rest.contains("0\r\n"), "{rest:?}");
    let (_client, response) = get_http2(&server, &[]).await;
    let mut events = upstream.answers("").await;
    events.send("data: 1\n\n").await;
    let mut body = soon(response).await.expect("a response").into_body();
    assert_eq!(soon(body.data()).await.expect("an event").expect("an event"), "data: #\n\n");
    events.send("data: 2!\n\n").await;
    let error = soon(body.data()).await.expect("it does not end well").expect_err("it does not end well");
    assert!(error.is_reset(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_response_passes_however_slowly_it_is_read() {
    const PIECES: usize = 512;
    let mut upstream = Upstream::start().await;
    let server = serve("limits = { replay_bytes = '64KiB', written_bytes = '64KiB' }", "", &upstream).await;
    let mut client = server.connect().await;
    client.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    let mut events = upstream.answers("").await;
    let sends = tokio::spawn(async move {
        let piece = [&[b'7'; 65_535][..], b"\n"].concat();
        for _ in 0..PIECES {
            events.send(&piece).await;
        }
        events.end("").await;
    });
    let (mut counted, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        let read = soon(client.0.read(&mut buffer)).await.expect("the server sends");
        if read == 0 {
            break;
        }
        counted += buffer[..read].iter().filter(|&&byte| byte == b'#').count();
        tokio::task::yield_now().await;
    }
    assert_eq!(counted, PIECES * 65_535);
    soon(sends).await.expect("it does not panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_counts_towards_the_concurrency_of_its_route_until_it_ends() {
    let mut upstream = Upstream::start().await;
    let route = "concurrency = { max = 1 }";
    let server = serve("", route, &upstream).await;
    let mut client = server.connect().await;
    client.send(GET).await;
    let mut events = upstream.answers("").await;
    events.send("data: 1\n\n").await;
    client.read_until("data: #\n\n").await;
    let second = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    assert!(server.exchange(&second).await.starts_with("HTTP/1.1 503 "));
    events.end("").await;
    client.read_until("0\r\n\r\n").await;
    let mut client = server.connect().await;
    eventually(async || {
        client.send(GET).await;
        tokio::select! {
            events = upstream.answers("") => Some(events),
            _ = client.read_until("503") => None,
        }
    })
    .await
    .end("")
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_guest_computes_counts_until_that_ends_even_if_the_client_resets_it() {
    let mut upstream = Upstream::start().await;
    let files = Files::new();
    // It computes after the first write.
    let write = "(call $write_body (i32.const 1) (i32.const 0) (i32.wrap_i64 (local.get $read)))";
    files.write("guest.wat", &REDACTS.replace(write, &format!("{write} (loop $forever (br $forever))")));
    let settings = "limits.deadline = '3s'";
    let config = config(settings, "concurrency = { max = 1, queue = 0 }", &upstream.url);
    let server = Server::start_with(files, &config).await;
    let (client, response) = get_http2(&server, &[]).await;
    let mut events = upstream.answers("").await;
    events.send("data: 1\n\n").await;
    let mut response = soon(response).await.expect("a response");
    soon(response.body_mut().data()).await.expect("data").expect("data");
    // This resets the stream.
    drop(response);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let second = GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    assert!(server.exchange(&second).await.starts_with("HTTP/1.1 503 "));
    let mut client_again = server.connect().await;
    eventually(async || {
        client_again.send(GET).await;
        tokio::select! {
            events = upstream.answers("") => Some(events),
            _ = client_again.read_until("503") => None,
        }
    })
    .await;
    drop((client, events));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_does_not_declare_it_is_not_loaded_with_the_setting() {
    let files = Files::new();
    files.write("guest.wat", &REDACTS.replace("(@custom \"http-wasm-stream\" \"\")", ""));
    let undeclared = files.load(&config("", "", "http://127.0.0.1:1")).expect("it is valid");
    let error = Gateway::build(undeclared).await.expect_err("it is refused").to_string();
    assert!(error.contains("undeclared-stream"), "{error}");
    let allowed = config("allow = ['undeclared-stream']", "", "http://127.0.0.1:1");
    Gateway::build(files.load(&allowed).expect("it is valid")).await.expect("it is allowed");
}
