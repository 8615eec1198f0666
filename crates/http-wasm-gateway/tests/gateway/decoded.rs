//! Compressed bodies: the manual's recipes for redaction and for a firewall, with curl as the client.

use std::io::Write as _;
use std::process::Command;

use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::files::Files;
use crate::support::{Server, soon};

/// Replaces each "secret" in a response with "xxxxxx".
const REDACTS: &str = r#"(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
  (memory (export "memory") 4)
  (func $start (drop (call $enable_features (i32.const 2))))
  (start $start)
  (func (export "handle_request") (result i64) (i64.const 1))
  (func (export "handle_response") (param i32 i32) (local $len i32) (local $at i32)
    (local.set $len (i32.wrap_i64 (call $read_body (i32.const 1) (i32.const 0) (i32.const 131072))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (i32.add (local.get $at) (i32.const 6)) (local.get $len)))
      ;; "secr", "et"
      (if (i32.and (i32.eq (i32.load (local.get $at)) (i32.const 0x72636573))
                   (i32.eq (i32.load16_u offset=4 (local.get $at)) (i32.const 0x7465)))
        (then (memory.fill (local.get $at) (i32.const 0x78) (i32.const 6))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $next)))
    (call $write_body (i32.const 1) (i32.const 0) (local.get $len))))"#;

/// Answers a request whose body begins with "attack" with 403.
const BLOCKS: &str = r#"(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (import "http_handler" "set_status_code" (func $set_status_code (param i32)))
  (memory (export "memory") 4)
  (func $start (drop (call $enable_features (i32.const 1))))
  (start $start)
  (func (export "handle_request") (result i64)
    (drop (call $read_body (i32.const 0) (i32.const 0) (i32.const 131072)))
    (if (i64.eq (i64.and (i64.load (i32.const 0)) (i64.const 0xffffffffffff)) (i64.const 0x6b6361747461))
      (then (call $set_status_code (i32.const 403)) (return (i64.const 0))))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32)))"#;

/// Reads an entire request body.
const READS_ALL: &str = r#"(module
  (import "http_handler" "enable_features" (func $enable_features (param i32) (result i32)))
  (import "http_handler" "read_body" (func $read_body (param i32 i32 i32) (result i64)))
  (memory (export "memory") 4)
  (func $start (drop (call $enable_features (i32.const 1))))
  (start $start)
  (func (export "handle_request") (result i64)
    (loop $next
      (br_if $next (i64.eqz (i64.shr_u
        (call $read_body (i32.const 0) (i32.const 0) (i32.const 131072)) (i64.const 32)))))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32)))"#;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(content).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

fn gunzip(coded: &[u8]) -> String {
    let mut decoder = GzDecoder::new(Vec::new());
    decoder.write_all(coded).expect("it is gzip");
    String::from_utf8_lossy(&decoder.finish().expect("it is whole")).into_owned()
}

/// An upstream that answers all requests with these bytes. Returns its URL, and the requests as received.
async fn upstream(response: Vec<u8>) -> (String, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are ports");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (requests, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !is_whole(&request) && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
            let _ = requests.send(request);
            let _ = stream.write_all(&response).await;
        }
    });
    (url, received)
}

/// Whether a request is complete, with its body if it declares a length.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    request.len() >= end + 4 + length.unwrap_or(0)
}

fn response(fields: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nETag: \"x\"\r\n{fields}Connection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

async fn serve(guest: &str, settings: &str, route: &str, upstream: &str) -> Server {
    let files = Files::new();
    files.write("guest.wat", guest);
    let config = format!(
        "listen = ['127.0.0.1:0']\n[guests.guest]\npath = 'guest.wat'\n{settings}\n\
         [upstreams.app]\naddresses = ['{upstream}']\n\
         [[routes]]\nguests = ['guest']\nupstream = 'app'\n{route}\n"
    );
    Server::start_with(files, &config).await
}

/// What curl prints, or `None` if there is no curl.
async fn curl(args: Vec<String>) -> Option<String> {
    let run = move || {
        Command::new("curl").args(["--silent", "--show-error", "--max-time", "20"]).args(args).output()
    };
    match soon(tokio::task::spawn_blocking(run)).await.expect("it doesn't panic") {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "curl failed: {errors}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: there is no curl");
            None
        }
        Err(error) => panic!("curl: {error}"),
    }
}

const TEXT: &str = "{\"id\": 7, \"password\": \"secret\", \"note\": \"no secret is kept\"}";
const REDACTED: &str = "{\"id\": 7, \"password\": \"xxxxxx\", \"note\": \"no xxxxxx is kept\"}";

#[tokio::test]
async fn a_redacting_guest_sees_the_decoded_bodies_of_upstream_and_client() {
    let (url, mut requests) = upstream(response("Content-Encoding: gzip\r\n", &gzip(TEXT.as_bytes()))).await;
    let server = serve(REDACTS, "bodies = 'decoded'", "", &url).await;
    let address = format!("http://{}/", server.addr);
    let head = ["--dump-header".into(), "-".into()];
    if let Some(answer) = curl([&["--compressed".into(), address.clone()][..], &head].concat()).await {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body, REDACTED);
        let head = head.to_ascii_lowercase();
        for field in ["content-encoding: ", "etag: w/\"x\"", "vary: accept-encoding"] {
            assert!(head.contains(field), "{head}");
        }
        let request = String::from_utf8_lossy(&requests.recv().await.expect("it came")).to_ascii_lowercase();
        let asked = request.lines().find_map(|line| line.strip_prefix("accept-encoding: ")).expect("it asks");
        let known = ["gzip", "deflate", "br", "zstd"];
        assert!(asked.split(", ").all(|coding| known.contains(&coding)), "{asked}");
    }
    // A client that doesn't accept any coding, and one that requests a range.
    if let Some(answer) = curl(vec![address.clone()]).await {
        assert_eq!(answer, REDACTED);
    }
    let ranged =
        "GET / HTTP/1.1\r\nHost: h\r\nRange: bytes=40-\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    let mut raw = server.connect().await;
    raw.send(ranged).await;
    let answer = raw.read_bytes_to_end().await;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(!head.contains("accept-ranges"), "{head}");
    while let Ok(request) = requests.try_recv() {
        assert!(!String::from_utf8_lossy(&request).to_ascii_lowercase().contains("\nrange:"));
    }
}

#[tokio::test]
async fn a_route_without_decoding_can_request_uncompressed_bodies() {
    let (url, mut requests) = upstream(response("", TEXT.as_bytes())).await;
    let server = serve(REDACTS, "", "accept_encoding = 'strip'\nrange = 'strip'", &url).await;
    let request = "GET / HTTP/1.1\r\nHost: h\r\nRange: bytes=40-\r\nIf-Range: \"x\"\r\nAccept-Encoding: br\r\n\
                   Connection: close\r\n\r\n";
    let answer = server.exchange(request).await;
    assert!(answer.ends_with(REDACTED), "{answer}");
    let request = String::from_utf8_lossy(&requests.recv().await.expect("it came")).to_ascii_lowercase();
    assert!(request.contains("accept-encoding: identity\r\n"), "{request}");
    assert!(!request.contains("range:"), "{request}");
}

#[tokio::test]
async fn a_firewall_inspects_compressed_uploads_and_forwards_good_ones_byte_for_byte() {
    let (url, mut requests) = upstream(response("", b"stored")).await;
    let server = serve(BLOCKS, "bodies = 'decoded'", "", &url).await;
    let files = &server.files;
    let upload = |content: &[u8]| {
        let path = files.path("upload.gz");
        std::fs::write(&path, gzip(content)).expect("a file of ours can be written");
        let data = format!("@{}", path.display());
        let args = ["--data-binary", &data, "--header", "Content-Encoding: gzip", "--compressed"];
        let code = ["--write-out", " %{http_code}", &format!("http://{}/", server.addr)].map(str::to_owned);
        curl([&args.map(str::to_owned)[..], &code].concat())
    };
    let good = "a good text ".repeat(1_000);
    if let Some(answer) = upload(good.as_bytes()).await {
        assert_eq!(answer, "stored 200");
        let request = requests.recv().await.expect("it came");
        assert!(request.ends_with(&gzip(good.as_bytes())));
        assert_eq!(upload(b"attack!").await.as_deref(), Some(" 403"));
        assert!(requests.try_recv().is_err());
    }
    // A coding that can't be decoded is refused, and the response lists the supported ones.
    let unknown = "POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: compress\r\nContent-Length: 6\r\n\
                   Connection: close\r\n\r\nattack";
    let answer = server.exchange(unknown).await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 415 "), "{answer}");
    assert!(answer.contains("accept-encoding: gzip, deflate, br, zstd\r\n"), "{answer}");
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn an_undecodable_response_is_a_502() {
    let body = gzip(TEXT.as_bytes());
    let cases = [("compress", &body[..]), ("gzip", &body[..body.len() - 1]), ("br", b"no brotli")];
    for (coding, body) in cases {
        let (url, _requests) = upstream(response(&format!("Content-Encoding: {coding}\r\n"), body)).await;
        let server = serve(REDACTS, "bodies = 'decoded'", "", &url).await;
        let answer = server.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{coding}: {answer}");
    }
    let (url, _requests) = upstream(response("Content-Encoding: compress\r\n", TEXT.as_bytes())).await;
    let passes = "bodies = 'decoded'\ndecoding = { undecodable = 'pass' }";
    let server = serve(REDACTS, passes, "", &url).await;
    let answer = server.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with(REDACTED), "{answer}");
}

#[tokio::test]
async fn a_decompression_bomb_gets_413_and_is_not_forwarded() {
    let (url, mut requests) = upstream(response("", b"stored")).await;
    let server = serve(READS_ALL, "bodies = 'decoded'", "", &url).await;
    for content in [vec![0; 2 << 20], vec![0; 64 << 20]] {
        let bomb = gzip(&content);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            bomb.len()
        );
        let answer = server.exchange([head.as_bytes(), &bomb].concat()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn a_redacted_response_is_compressed_again_only_if_configured() {
    for (setting, coded) in [("true", true), ("false", false)] {
        let (url, _requests) = upstream(response("Content-Encoding: gzip\r\n", &gzip(TEXT.as_bytes()))).await;
        let settings = format!("bodies = 'decoded'\ndecoding = {{ recompress = {setting} }}");
        let server = serve(REDACTS, &settings, "", &url).await;
        let mut raw = server.connect().await;
        raw.send("GET / HTTP/1.0\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n").await;
        let answer = raw.read_bytes_to_end().await;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let (head, body) = (String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase(), &answer[end + 4..]);
        assert_eq!(head.contains("content-encoding: gzip"), coded, "{head}");
        let text = if coded { gunzip(body) } else { String::from_utf8_lossy(body).into_owned() };
        assert_eq!(text, REDACTED);
    }
}
