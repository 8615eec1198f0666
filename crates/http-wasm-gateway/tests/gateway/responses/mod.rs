//! Responses of upstreams that can be read in two ways, that break off, or that say what isn't so: what clients get of
//! them, byte by byte, in both versions, with guests that read the body and without.

mod trailers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Collected, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::files::Files;
use crate::support::{Server, soon};

/// Reads the whole response and changes nothing.
pub(crate) const READS: &str = r#"(module
  (import "http_handler" "enable_features" (func $features (param i32) (result i32)))
  (import "http_handler" "read_body" (func $read (param i32 i32 i32) (result i64)))
  (memory (export "memory") 2)
  (func (export "handle_request") (result i64) (drop (call $features (i32.const 2))) (i64.const 1))
  (func (export "handle_response") (param i32 i32)
    (loop $more (br_if $more (i64.eqz (i64.shr_u
      (call $read (i32.const 1) (i32.const 1024) (i32.const 65536)) (i64.const 32)))))))"#;

/// A server of a few answers, one for each path, which it sends as they are.
struct Upstream {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// What it does once an answer is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Keep,
    Close,
    Reset,
}

type Answers = Vec<(&'static str, String, Then)>;

impl Upstream {
    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (answers, connections) = (Arc::new(answers), Arc::new(AtomicUsize::new(0)));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, answers.clone()));
            }
        });
        Self { addr, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A gateway to this upstream; `/read/` goes through a guest that reads responses. A retry is for requests that
    /// meet an idle connection which the upstream is closing.
    async fn gateway(&self) -> Server {
        let files = Files::new();
        files.write("reads.wat", READS);
        let config = format!(
            "[[listen]]\naddress = '127.0.0.1:0'\n[guests.reads]\npath = 'reads.wat'\n\
             [upstreams.u]\naddresses = ['http://{}']\nretries = 1\n\
             [[routes]]\npath_prefix = '/read/'\nguests = ['reads']\nupstream = 'u'\n\
             [[routes]]\nupstream = 'u'\n",
            self.addr
        );
        Server::start_with(files, &config).await
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Answers>) {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            let Ok(1..) = stream.read_buf(&mut read).await else { return };
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        read.drain(..end);
        let target = head.split(' ').nth(1).unwrap_or_default();
        let Some((_, answer, then)) = answers.iter().find(|(path, ..)| target.ends_with(path)) else {
            return;
        };
        // Some answers show what was asked.
        let _ = stream.write_all(answer.replace("{HEAD}", &head).as_bytes()).await;
        match then {
            Then::Keep => {}
            Then::Close => return,
            Then::Reset => return stream.set_zero_linger().expect("a setting of sockets"),
        }
    }
}

/// A response as an HTTP/1.1 client gets it.
#[derive(Debug)]
struct Got {
    status: u16,
    head: String,
    /// Everything behind the head.
    rest: String,
}

impl Got {
    fn parse(answer: &str) -> Self {
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head: head.to_ascii_lowercase(), rest: rest.to_owned() }
    }

    fn fields(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(found, _)| *found == name).map(|(_, value)| value).collect()
    }

    fn length(&self) -> Option<u64> {
        let lengths = self.fields("content-length");
        assert!(lengths.len() <= 1, "{self:?}");
        lengths.first().map(|length| length.parse().expect("a number"))
    }

    /// The body, if it is whole.
    fn body(&self) -> Option<String> {
        if self.fields("transfer-encoding") == ["chunked"] {
            assert_eq!(self.length(), None, "{self:?}");
            return dechunked(&self.rest);
        }
        let length = usize::try_from(self.length()?).expect("a short body");
        assert!(self.rest.len() <= length, "surplus bytes: {self:?}");
        (self.rest.len() == length).then(|| self.rest.clone())
    }
}

fn dechunked(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return after.ends_with("\r\n").then_some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// Asks over HTTP/1.1, by a connection of its own that the server closes.
async fn http1(server: &Server, method: &str, path: &str) -> Got {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: close, te\r\n\r\n");
    Got::parse(&server.exchange(request).await)
}

type Sender = http2::SendRequest<Empty<Bytes>>;

async fn http2(server: &Server) -> Sender {
    let stream = TcpStream::connect(server.addr).await.expect("the server accepts");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.expect("a handshake");
    tokio::spawn(connection);
    sender
}

async fn ask(sender: &mut Sender, method: Method, path: &str) -> hyper::Result<Response<Incoming>> {
    let request = Request::builder().method(method).uri(format!("http://h{path}"));
    soon(sender.send_request(request.body(Empty::new()).expect("a request"))).await
}

/// Head, and body if it is whole.
async fn whole(response: Response<Incoming>) -> (StatusCode, HeaderMap, Option<Collected<Bytes>>) {
    let (head, body) = response.into_parts();
    (head.status, head.headers, soon(body.collect()).await.ok())
}

fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}")
}

const BOTH: [&str; 2] = ["", "/read"];

#[tokio::test(flavor = "multi_thread")]
async fn a_length_beside_chunks_can_not_split_a_response() {
    let evil = ok("Content-Length: 4", "evil");
    let body = format!("{:x}\r\n0{evil}\r\n0\r\n\r\n", 1 + evil.len());
    let upstream = Upstream::start(vec![
        ("/first", ok("Content-Length: 1\r\nTransfer-Encoding: chunked", &body), Then::Keep),
        ("/second", ok("Content-Length: 4", "good"), Then::Close),
    ])
    .await;
    let server = upstream.gateway().await;
    for guests in BOTH {
        let before = upstream.connections();
        let mut raw = server.connect().await;
        raw.send(format!("GET {guests}/first HTTP/1.1\r\nHost: h\r\n\r\n")).await;
        raw.read_until("evil").await;
        raw.send(format!("GET {guests}/second HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await;
        let rest = raw.read_to_end().await;
        let second = rest.find("HTTP/1.1").map(|at| Got::parse(&rest[at..]));
        assert_eq!(second.and_then(|second| second.body()).as_deref(), Some("good"), "{rest}");
        // Another connection answered it.
        assert_eq!(upstream.connections() - before, 2);

        let got = http1(&server, "GET", &format!("{guests}/first")).await;
        assert_eq!(got.body(), Some(format!("0{evil}")));
        let mut sender = http2(&server).await;
        let response = ask(&mut sender, Method::GET, &format!("{guests}/first")).await.expect("a response");
        let (_, headers, body) = whole(response).await;
        let length = headers.get("content-length").map(|length| length.to_str().unwrap().to_owned());
        assert!(length.is_none_or(|length| length == (1 + evil.len()).to_string()), "{headers:?}");
        assert_eq!(body.expect("a whole body").to_bytes(), format!("0{evil}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_can_be_read_in_two_ways_becomes_a_502_without_a_byte_of_it() {
    for fields in [
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nContent-Length: 6",
        "Content-Length: 1\r\nContent-Length: 6",
        "Content-Length: 1, 6",
        "Content-Length: +6",
        "Content-Length: x",
        "Content-Length:",
        "Content-Length: 6\nX: y",
        "X: y\r\n z\r\nContent-Length: 6",
        "X : y\r\nContent-Length: 6",
        "X: \0\r\nContent-Length: 6",
    ] {
        let upstream = Upstream::start(vec![("/", ok(fields, "secret"), Then::Close)]).await;
        let server = upstream.gateway().await;
        for guests in BOTH {
            for method in ["GET", "HEAD"] {
                let got = http1(&server, method, &format!("{guests}/")).await;
                assert_eq!(got.status, 502, "{fields:?}: {got:?}");
                assert!(!format!("{got:?}").contains("secret"), "{fields:?}: {got:?}");
            }
            let response = ask(&mut http2(&server).await, Method::GET, &format!("{guests}/")).await;
            assert_eq!(response.expect("a response").status(), 502, "{fields:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_repeated_is_told_once() {
    for fields in ["Content-Length: 2, 2", "Content-Length: 2\r\nContent-Length: 2"] {
        let upstream = Upstream::start(vec![("/", ok(fields, "ok"), Then::Keep)]).await;
        let server = upstream.gateway().await;
        for guests in BOTH {
            let got = http1(&server, "GET", &format!("{guests}/")).await;
            assert_eq!((got.length(), got.body().as_deref()), (Some(2), Some("ok")), "{got:?}");
            let response = ask(&mut http2(&server).await, Method::GET, &format!("{guests}/")).await;
            assert_eq!(response.expect("a response").headers().get_all("content-length").iter().count(), 1);
        }
        assert_eq!(upstream.connections(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_behind_a_response_answer_no_request() {
    let surplus = ok("Content-Length: 4", "evil");
    let upstream = Upstream::start(vec![
        ("/first", ok("Content-Length: 2", &format!("ok{surplus}")), Then::Keep),
        ("/chunked", ok("Transfer-Encoding: chunked", &format!("2\r\nok\r\n0\r\n\r\n{surplus}")), Then::Keep),
        ("/empty", format!("HTTP/1.1 204 No Content\r\n\r\n{surplus}"), Then::Keep),
        ("/second", ok("Content-Length: 4", "good"), Then::Close),
    ])
    .await;
    let server = upstream.gateway().await;
    for guests in BOTH {
        for first in ["/first", "/chunked", "/empty"] {
            let before = upstream.connections();
            http1(&server, "GET", &format!("{guests}{first}")).await;
            let second = http1(&server, "GET", &format!("{guests}/second")).await;
            assert_eq!(second.body().as_deref(), Some("good"), "behind {first}: {second:?}");
            assert_eq!(upstream.connections() - before, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_arrives_as_a_head_and_a_broken_body_every_time() {
    const TIMES: usize = 100;
    let upstream = Upstream::start(vec![
        ("/length", ok("Content-Length: 5", ""), Then::Close),
        ("/some", ok("Content-Length: 5", "abc"), Then::Close),
        ("/chunked", ok("Transfer-Encoding: chunked", ""), Then::Close),
        ("/chunk", ok("Transfer-Encoding: chunked", "5\r\nabc"), Then::Close),
        ("/malformed", ok("Transfer-Encoding: chunked", "x\r\n"), Then::Keep),
        ("/longer", ok("Transfer-Encoding: chunked", "3\r\nabcd\r\n"), Then::Keep),
        ("/reset", ok("Content-Length: 5", ""), Then::Reset),
    ])
    .await;
    let server = upstream.gateway().await;
    for (path, begin) in [
        ("/length", ""),
        ("/some", "abc"),
        ("/chunked", ""),
        ("/chunk", "abc"),
        ("/malformed", ""),
        ("/longer", "abc"),
    ] {
        for _ in 0..TIMES {
            let got = http1(&server, "GET", path).await;
            assert_eq!((got.status, got.body()), (200, None), "{path}: {got:?}");
            assert!(got.rest.is_empty() == begin.is_empty() && got.rest.contains(begin), "{path}: {got:?}");
        }
        let mut sender = http2(&server).await;
        let responses = (0..TIMES).map(|_| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let response = ask(&mut sender, Method::GET, path).await;
                let (status, _, body) = whole(response.expect("a head")).await;
                (status, body.is_some())
            })
        });
        for response in responses.collect::<Vec<_>>() {
            assert_eq!(response.await.expect("no panic"), (StatusCode::OK, false), "{path}");
        }
        // The connection lives on.
        assert!(ask(&mut sender, Method::GET, path).await.is_ok());
    }
    // A reset may take the head along that came before it.
    for _ in 0..TIMES {
        let got = http1(&server, "GET", "/reset").await;
        assert!(got.status == 502 || got.status == 200 && got.body().is_none(), "{got:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_without_content_say_no_length_and_what_stands_for_a_body_keeps_it() {
    let answer = |status: &str, length: &str| format!("HTTP/1.1 {status} X\r\n{length}\r\n\r\n");
    let upstream = Upstream::start(vec![
        ("/204", answer("204", "Content-Length: 7"), Then::Keep),
        ("/205", answer("205", "Content-Length: 3\r\nContent-Type: text/plain") + "abc", Then::Keep),
        ("/304", answer("304", "Content-Length: 7"), Then::Keep),
        ("/304/none", answer("304", "X: y"), Then::Keep),
        ("/200", answer("200", "Content-Length: 7"), Then::Keep),
        ("/200/none", answer("200", "Transfer-Encoding: chunked"), Then::Keep),
    ])
    .await;
    let server = upstream.gateway().await;
    for guests in BOTH {
        for (method, path, allowed) in [
            ("GET", "/204", [None, None]),
            ("HEAD", "/204", [None, None]),
            ("GET", "/205", [None, Some(0)]),
            ("GET", "/304", [Some(7), Some(7)]),
            ("HEAD", "/304", [Some(7), Some(7)]),
            ("GET", "/304/none", [None, None]),
            ("HEAD", "/200", [Some(7), Some(7)]),
            ("HEAD", "/200/none", [None, None]),
        ] {
            let path = format!("{guests}{path}");
            let got = http1(&server, method, &path).await;
            assert!(allowed.contains(&got.length()), "{method} {path}: {got:?}");
            assert_eq!(got.rest, "", "{method} {path}");
            assert!(got.fields("transfer-encoding").is_empty(), "{method} {path}: {got:?}");

            let method = method.parse().expect("a method");
            let response = ask(&mut http2(&server).await, method, &path).await.expect("a response");
            let (_, headers, body) = whole(response).await;
            let length =
                headers.get("content-length").map(|length| length.to_str().unwrap().parse().unwrap());
            assert!(allowed.contains(&length), "{path}: {headers:?}");
            assert!(body.expect("a whole body").to_bytes().is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_behind_a_304_that_keeps_its_length() {
    let answer = "HTTP/1.1 304 X\r\nContent-Length: 7\r\n\r\n".to_owned();
    let upstream = Upstream::start(vec![("/", answer, Then::Keep)]).await;
    let server = upstream.gateway().await;
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = server
        .exchange(format!("{get}{get}{}", get.replace("h\r\n\r\n", "h\r\nConnection: close\r\n\r\n")))
        .await;
    assert_eq!(answer.matches("HTTP/1.1 304").count(), 3, "{answer}");
    assert_eq!(answer.matches("content-length: 7").count(), 3, "{answer}");
}

/// A body that shows the request's head.
fn show() -> String {
    ok("Connection: close", "{HEAD}")
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_expect_a_body_say_when_it_is_empty() {
    let upstream = Upstream::start(vec![("/", show(), Then::Close)]).await;
    let server = upstream.gateway().await;
    for guests in BOTH {
        for (method, said) in
            [("POST", 1), ("PUT", 1), ("PATCH", 1), ("GET", 0), ("HEAD", 0), ("DELETE", 0), ("OPTIONS", 0)]
        {
            let path = format!("{guests}/");
            let expected = if method == "HEAD" { 0 } else { said };
            let got = http1(&server, method, &path).await;
            assert_eq!(got.rest.matches("content-length: 0\r\n").count(), expected, "{method}: {got:?}");
            assert!(!got.rest.contains("transfer-encoding"), "{method}: {got:?}");

            // hyper's client says a length for it.
            if method == "OPTIONS" {
                continue;
            }
            let response = ask(&mut http2(&server).await, method.parse().unwrap(), &path).await;
            let (_, _, body) = whole(response.expect("a response")).await;
            let shown = String::from_utf8_lossy(&body.expect("a whole body").to_bytes()).into_owned();
            assert_eq!(shown.matches("content-length: 0\r\n").count(), expected, "{method}: {shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_head_and_many_fields_of_an_http1_upstream_pass() {
    let many: String = (0..200).map(|at| format!("x-{at}: v\r\n")).collect();
    let large = format!("x-large: {}", "v".repeat(60_000));
    let upstream = Upstream::start(vec![
        ("/many", ok(&format!("{many}Content-Length: 2"), "ok"), Then::Keep),
        ("/large", ok(&format!("{large}\r\nContent-Length: 2"), "ok"), Then::Keep),
        ("/too-many", ok(&format!("{many}{many}Content-Length: 2"), "ok"), Then::Keep),
        ("/too-large", ok(&format!("{large}{large}\r\nContent-Length: 2"), "ok"), Then::Keep),
    ])
    .await;
    let server = upstream.gateway().await;
    for (path, status) in [("/many", 200), ("/large", 200), ("/too-many", 502), ("/too-large", 502)] {
        assert_eq!(http1(&server, "GET", path).await.status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_request_has_one_length_or_none() {
    let server = Server::echo("").await;
    let mut sender = http2(&server).await;
    for (lengths, status) in [(&["0"][..], 200), (&["0", "0"], 400), (&[""], 400)] {
        let mut request = Request::get("http://h/").body(Empty::<Bytes>::new()).expect("a request");
        for length in lengths {
            request.headers_mut().append("content-length", length.parse().expect("a value"));
        }
        let response = soon(sender.send_request(request)).await.expect("a response");
        assert_eq!(response.status(), status, "{lengths:?}");
    }
    // h2 resets these streams.
    for lengths in [&["0", "1"][..], &["+0"], &["5"]] {
        let mut request = Request::get("http://h/").body(Empty::<Bytes>::new()).expect("a request");
        for length in lengths {
            request.headers_mut().append("content-length", length.parse().expect("a value"));
        }
        assert!(soon(sender.send_request(request)).await.is_err(), "{lengths:?}");
    }
}
