//! Ambiguous, truncated and incorrect responses of upstreams: what clients get, byte by byte, in both HTTP versions,
//! with and without guests that read the body.

mod framing;
mod incomplete;
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

/// Reads the entire response without changing it.
pub(crate) const READS: &str = r#"(module
  (import "http_handler" "enable_features" (func $features (param i32) (result i32)))
  (import "http_handler" "read_body" (func $read (param i32 i32 i32) (result i64)))
  (memory (export "memory") 2)
  (func (export "handle_request") (result i64) (drop (call $features (i32.const 2))) (i64.const 1))
  (func (export "handle_response") (param i32 i32)
    (loop $more (br_if $more (i64.eqz (i64.shr_u
      (call $read (i32.const 1) (i32.const 1024) (i32.const 65536)) (i64.const 32)))))))"#;

/// A server that sends fixed responses, one for each path, without changes.
struct Upstream {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// What the server does after sending a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AfterResponse {
    Keep,
    Close,
    Reset,
}

type Answers = Vec<(&'static str, String, AfterResponse)>;

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

    /// A gateway for this upstream. `/read/` goes through a guest that reads responses. Retries are for requests on an
    /// idle connection that the upstream is closing.
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
        // Some responses contain the request's head.
        let _ = stream.write_all(answer.replace("{HEAD}", &head).as_bytes()).await;
        match then {
            AfterResponse::Keep => {}
            AfterResponse::Close => return,
            AfterResponse::Reset => return stream.set_zero_linger().expect("a setting of sockets"),
        }
    }
}

/// A response as an HTTP/1.1 client gets it.
#[derive(Debug)]
struct RawResponse {
    status: u16,
    head: String,
    /// Everything after the head.
    rest: String,
}

impl RawResponse {
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

    /// The body, if it is complete.
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

/// Sends a request over HTTP/1.1, on a new connection that the server closes.
async fn http1(server: &Server, method: &str, path: &str) -> RawResponse {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: close, te\r\n\r\n");
    RawResponse::parse(&server.exchange(request).await)
}

type Sender = http2::SendRequest<Empty<Bytes>>;

async fn http2(server: &Server) -> Sender {
    let stream = TcpStream::connect(server.addr).await.expect("the server accepts");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.expect("a handshake");
    tokio::spawn(connection);
    sender
}

async fn send(sender: &mut Sender, method: Method, path: &str) -> hyper::Result<Response<Incoming>> {
    let request = Request::builder().method(method).uri(format!("http://h{path}"));
    soon(sender.send_request(request.body(Empty::new()).expect("a request"))).await
}

/// The head, and the body if it is complete.
async fn whole(response: Response<Incoming>) -> (StatusCode, HeaderMap, Option<Collected<Bytes>>) {
    let (head, body) = response.into_parts();
    (head.status, head.headers, soon(body.collect()).await.ok())
}

fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}")
}

/// Prefixes of paths: without a guest, and with one that reads the response.
const PREFIXES: [&str; 2] = ["", "/read"];
