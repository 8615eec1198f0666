//! Random pairs of request and response framings: what arrives on either side is what was sent, or is visibly
//! incomplete, and the next request on each connection gets its own response.
//!
//! `HTTP_WASM_FRAMING_PAIRS` sets the number of pairs, and `HTTP_WASM_FRAMING_SEED` the seed.

#![expect(clippy::print_stdout, reason = "the figures of a long run")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::files::Files;
use crate::responses::READS;
use crate::support::Server;

const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// A request, and how a correct parser reads it.
#[derive(Debug)]
struct Request {
    method: &'static str,
    bytes: String,
    /// Its body; `None` if it must be refused.
    body: Option<String>,
}

/// A response, and what the client gets.
#[derive(Debug, Clone)]
struct Response {
    bytes: String,
    closes: bool,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Whole(u16, String),
    /// The head arrives, with at most this part of the body.
    Broken(u16, String),
    Refused,
}

fn text(rng: &mut Rng) -> String {
    match rng.u8(..6) {
        0 => String::new(),
        1 => EVIL.to_owned(),
        2 => "GET /evil HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        3 => "0\r\n\r\n".to_owned(),
        4 => "x".repeat(rng.usize(1..40_000)),
        _ => "\r\n\0abc: d\r\n".to_owned(),
    }
}

/// Text in chunks of random sizes.
fn chunked(rng: &mut Rng, text: &str) -> String {
    let (mut all, mut rest) = (String::new(), text);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(rng.usize(1..=rest.len()));
        let extension = *rng.choice(&["", "", ";a=b"]).expect("one");
        all.push_str(&format!("{:x}{extension}\r\n{chunk}\r\n", chunk.len()));
        rest = after;
    }
    all + rng.choice(&["0\r\n\r\n", "0\r\n\r\n", "000\r\nX-Sum: 1\r\n\r\n"]).expect("one")
}

/// Removes informational responses.
fn without_hints(mut answer: Vec<u8>) -> Vec<u8> {
    const HINT: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    while let Some(at) = answer.windows(HINT.len()).position(|window| window == HINT) {
        answer.drain(at..at + HINT.len());
    }
    answer
}

impl Request {
    fn any(rng: &mut Rng, path: &str) -> Self {
        let method = *rng.choice(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]).expect("one");
        let version = if rng.u8(..8) == 0 { "1.0" } else { "1.1" };
        let body = text(rng);
        let length = format!("Content-Length: {}\r\n", body.len());
        let (fields, sent, valid) = match rng.u8(..16) {
            0..3 => return Self::new(method, version, path, "", "", Some("")),
            3..7 => (length, body.clone(), true),
            7..11 => ("Transfer-Encoding: chunked\r\n".to_owned(), chunked(rng, &body), version == "1.1"),
            11 => (format!("{length}Transfer-Encoding: chunked\r\n"), chunked(rng, &body), false),
            12 => (format!("{length}{length}"), body.clone(), false),
            13 => {
                let codings = ["gzip, chunked", "identity", "chunked, chunked", "\"chunked\"", "", "gzip"];
                let coding = rng.choice(&codings).expect("one");
                (format!("Transfer-Encoding: {coding}\r\n"), chunked(rng, &body), false)
            }
            14 => {
                let length =
                    *rng.choice(&["+5", "5, 5", "0x5", "", "5 5", "99999999999999999999"]).expect("one");
                (format!("Content-Length: {length}\r\n"), body.clone(), false)
            }
            _ => {
                let lines = ["X: y\n", "X : y\r\n", " X: y\r\n", "X\r\n", "X: y\r\n z\r\n", "X: y\rZ: 1\r\n"];
                (format!("{}{length}", rng.choice(&lines).expect("one")), body.clone(), false)
            }
        };
        Self::new(method, version, path, &fields, &sent, valid.then_some(&body))
    }

    fn new(
        method: &'static str,
        version: &str,
        path: &str,
        fields: &str,
        sent: &str,
        body: Option<&str>,
    ) -> Self {
        // In HTTP/1.0, the connection ends with the response anyway.
        let bytes = format!("{method} {path} HTTP/{version}\r\nHost: h\r\n{fields}\r\n{sent}");
        Self { method, bytes, body: body.map(str::to_owned) }
    }
}

impl Response {
    fn any(rng: &mut Rng) -> Self {
        let status = *rng.choice(&[200, 200, 200, 201, 204, 205, 304, 404, 500]).expect("one");
        let body = text(rng);
        let length = format!("Content-Length: {}\r\n", body.len());
        let chunks = "Transfer-Encoding: chunked\r\n".to_owned();
        let whole = Outcome::Whole(status, body.clone());
        let (fields, sent, closes, outcome) = match rng.u8(..18) {
            0..3 => (length, body, false, whole),
            3..6 => (chunks, chunked(rng, &body), false, whole),
            6 => (String::new(), body, true, whole),
            7 => (format!("{length}{length}"), body, false, whole),
            8 => (format!("Content-Length: {0}, {0}\r\n", body.len()), body, false, whole),
            9 => (format!("Content-Length: {}\r\n{chunks}", rng.u8(..)), chunked(rng, &body), false, whole),
            10 => (length, body + EVIL, false, whole),
            11 => (chunks, chunked(rng, &body) + EVIL, false, whole),
            12 => (
                format!("Content-Length: {}\r\n", body.len() + 1),
                body.clone(),
                true,
                Outcome::Broken(status, body),
            ),
            13 => {
                let sent = chunked(rng, &body);
                let cut = rng.usize(..sent.len());
                (chunks, sent[..cut].to_owned(), true, Outcome::Broken(status, body))
            }
            14 => {
                let bad = *rng
                    .choice(&["x\r\n", "+1\r\na\r\n", "1\na\r\n", "1\r\nab\r\n", "1;\0\r\na\r\n"])
                    .expect("one");
                (
                    chunks,
                    format!("{:x}\r\n{body}a\r\n{bad}{EVIL}", body.len() + 1),
                    false,
                    Outcome::Broken(status, body + "aa"),
                )
            }
            15 => {
                let codings = ["gzip", "gzip, chunked", "chunked, gzip", "identity", "chunked, chunked", ""];
                let coding = rng.choice(&codings).expect("one");
                (
                    format!("Transfer-Encoding: {coding}\r\n"),
                    chunked(rng, &body),
                    rng.bool(),
                    Outcome::Refused,
                )
            }
            16 => {
                let length =
                    *rng.choice(&["+5", "5, 6", "0x5", "", "5 5", "99999999999999999999"]).expect("one");
                (format!("Content-Length: {length}\r\n"), body, rng.bool(), Outcome::Refused)
            }
            _ => {
                let lines = [
                    "X: y\n",
                    "X : y\r\n",
                    " X: y\r\n",
                    "X\r\n",
                    "X: y\r\n z\r\n",
                    "X: y\rZ: 1\r\n",
                    "X: \0\r\n",
                ];
                (format!("{}{length}", rng.choice(&lines).expect("one")), body, rng.bool(), Outcome::Refused)
            }
        };
        let hint = if rng.u8(..8) == 0 { "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" } else { "" };
        Self { bytes: format!("{hint}HTTP/1.1 {status} X\r\n{fields}\r\n{sent}"), closes, outcome }
    }

    /// What a client gets that has sent this method.
    fn outcome(&self, method: &str) -> Outcome {
        match &self.outcome {
            Outcome::Refused => Outcome::Refused,
            Outcome::Whole(status, _) | Outcome::Broken(status, _)
                if method == "HEAD" || matches!(status, 204 | 304) =>
            {
                Outcome::Whole(*status, String::new())
            }
            Outcome::Whole(205, _) | Outcome::Broken(205, _) => Outcome::Whole(205, String::new()),
            other => other.clone(),
        }
    }
}

#[derive(Default)]
struct Script {
    responses: HashMap<String, Response>,
    /// The received requests, by path.
    received: HashMap<String, Vec<(String, String)>>,
    faults: Vec<String>,
}

#[derive(Clone, Default)]
struct Upstream(Arc<Mutex<Script>>);

impl Upstream {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let this = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(this.clone().serve(stream));
            }
        });
        addr
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut read = Vec::new();
        loop {
            let (method, path, body) = loop {
                match Message::parse(&read, "GET") {
                    Ok(Some((message, end))) => {
                        read.drain(..end);
                        let mut words = message.first.split(' ');
                        let word = |word: Option<&str>| word.unwrap_or_default().to_owned();
                        break (word(words.next()), word(words.next()), message.body);
                    }
                    Ok(None) => {}
                    Err(fault) => return self.script().faults.push(fault),
                }
                let Ok(1..) = stream.read_buf(&mut read).await else { return };
            };
            let path = path.trim_start_matches("/read").to_owned();
            let response = {
                let mut script = self.script();
                let response = script.responses.get(&path).cloned();
                script.received.entry(path.clone()).or_default().push((method, body));
                response
            };
            let response = response.unwrap_or_else(|| Response {
                bytes: format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()),
                closes: false,
                outcome: Outcome::Refused,
            });
            let _ = stream.write_all(response.bytes.as_bytes()).await;
            if response.closes {
                return;
            }
        }
    }
}

/// A message of either side, read strictly.
struct Message {
    first: String,
    body: String,
}

impl Message {
    /// The first message, and its length; `None` while it is incomplete. For a response, `method` is that of the
    /// request.
    fn parse(input: &[u8], method: &str) -> Result<Option<(Self, usize)>, String> {
        let all = String::from_utf8_lossy(input);
        let Some((head, rest)) = all.split_once("\r\n\r\n") else { return Ok(None) };
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let (mut lengths, mut codings) = (Vec::new(), Vec::new());
        for line in lines {
            let (name, value) =
                line.split_once(": ").ok_or_else(|| format!("a line without a colon: {head:?}"))?;
            match name {
                "content-length" => lengths.push(value),
                "transfer-encoding" => codings.push(value),
                _ if line.contains(['\r', '\n', '\0']) => {
                    return Err(format!("control characters: {head:?}"));
                }
                _ => {}
            }
        }
        if lengths.len() + codings.len() > 1 || codings.iter().any(|&coding| coding != "chunked") {
            return Err(format!("framing: {head:?}"));
        }
        let status = first.strip_prefix("HTTP/1.").map(|first| first.get(2..5).unwrap_or_default());
        let bodiless = status.is_some_and(|status| method == "HEAD" || matches!(status, "204" | "304"));
        let (body, used) = if bodiless {
            (String::new(), 0)
        } else if first.starts_with("HTTP/1.0") && lengths.is_empty() {
            // Up to the end of the connection, which has been reached.
            (rest.to_owned(), rest.len())
        } else if !codings.is_empty() {
            match dechunk(rest)? {
                Some(dechunked) => dechunked,
                None => return Ok(None),
            }
        } else {
            let length: usize =
                lengths.first().unwrap_or(&"0").parse().map_err(|_| format!("length: {head:?}"))?;
            match rest.get(..length) {
                Some(body) => (body.to_owned(), length),
                None => return Ok(None),
            }
        };
        Ok(Some((Self { first, body }, head.len() + 4 + used)))
    }
}

fn dechunk(input: &str) -> Result<Option<(String, usize)>, String> {
    let (mut body, mut rest) = (String::new(), input);
    loop {
        let Some((size, after)) = rest.split_once("\r\n") else { return Ok(None) };
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("a chunk's size: {size:?}"))?;
        if size == 0 {
            let Some(end) = format!("\r\n{after}").find("\r\n\r\n") else { return Ok(None) };
            return Ok(Some((body, input.len() - after.len() + end + 2)));
        }
        let Some(chunk) = after.get(..size + 2) else { return Ok(None) };
        let chunk = chunk.strip_suffix("\r\n").ok_or_else(|| format!("the end of a chunk: {chunk:?}"))?;
        body.push_str(chunk);
        rest = &after[size + 2..];
    }
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_gets_its_own_response_in_any_pair_of_framings() {
    let (pairs, seed) = (from_env("HTTP_WASM_FRAMING_PAIRS", 400), from_env("HTTP_WASM_FRAMING_SEED", 1));
    let upstream = Upstream::default();
    let files = Files::new();
    files.write("reads.wat", READS);
    let config = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n[guests.reads]\npath = 'reads.wat'\n\
         [upstreams.u]\naddresses = ['http://{}']\nretries = 1\n\
         [[routes]]\npath_prefix = '/read/'\nguests = ['reads']\nupstream = 'u'\n[[routes]]\nupstream = 'u'\n",
        upstream.listen().await
    );
    let server = Server::start_with(files, &config).await;
    let mut rng = Rng::with_seed(seed);
    let (mut whole, mut broken, mut refused, mut bad) = (0, 0, 0, 0);
    for pair in 0..pairs {
        let guests = if rng.bool() { "/read" } else { "" };
        let path = format!("/pair/{seed}/{pair}");
        let request = Request::any(&mut rng, &format!("{guests}{path}"));
        let response = Response::any(&mut rng);
        upstream.script().responses.insert(path.clone(), response.clone());
        let context = format!("pair {pair} of seed {seed}, {guests:?}: {request:?} {response:?}");

        let marker = format!("/marker/{seed}/{pair}");
        let next = format!("GET {marker} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let mut raw = server.connect().await;
        // The request may be refused before it has been read.
        let _ = raw.0.write_all(format!("{}{next}", request.bytes).as_bytes()).await;
        let answer = without_hints(raw.read_bytes_to_end().await);

        let first =
            Message::parse(&answer, request.method).unwrap_or_else(|fault| panic!("{fault}; {context}"));
        let status = |message: &Message| message.first[9..12].parse::<u16>().expect("a status");
        let got = first.as_ref().map(|(message, _)| (status(message), message.body.as_str()));
        let received = upstream.script().received.remove(&path).unwrap_or_default();
        let Some(body) = &request.body else {
            bad += 1;
            assert_eq!(got.map(|(status, _)| status), Some(400), "{context}");
            assert_eq!(first.map(|(_, end)| end), Some(answer.len()), "{context}");
            assert_eq!(received, [], "{context}");
            continue;
        };
        assert_eq!(received, [(request.method.to_owned(), body.clone())], "{context}");
        let outcome = match &response.outcome {
            // Without a guest, the body of a 205 isn't read.
            Outcome::Broken(205, _) if !guests.is_empty() && request.method != "HEAD" => Outcome::Refused,
            _ => response.outcome(request.method),
        };
        match outcome {
            Outcome::Whole(status, body) => {
                whole += 1;
                assert_eq!(got, Some((status, body.as_str())), "{context}");
            }
            Outcome::Refused => {
                refused += 1;
                assert_eq!(got.map(|(status, _)| status), Some(502), "{context}");
            }
            // A guest that reads the body notices the error before the client has got anything.
            Outcome::Broken(..) if !guests.is_empty() => {
                broken += 1;
                assert_eq!(got.map(|(status, _)| status), Some(502), "{context}");
            }
            Outcome::Broken(status, body) => {
                broken += 1;
                // Without a length, an HTTP/1.0 client can't detect it.
                assert!(first.is_none() || answer.starts_with(b"HTTP/1.0"), "a complete answer: {context}");
                let text = String::from_utf8_lossy(&answer);
                assert_eq!(text.get(8..13), Some(format!(" {status} ").as_str()), "{text:?}: {context}");
                assert!(text.len() < body.len() + 1000 && !text.contains(&marker), "{context}");
                continue;
            }
        }
        let rest = &answer[first.map_or(0, |(_, end)| end)..];
        if !request.bytes.contains(" HTTP/1.0\r\n") {
            let second = Message::parse(rest, "GET").unwrap_or_else(|fault| panic!("{fault}; {context}"));
            let second = second.unwrap_or_else(|| panic!("no second answer: {context}"));
            assert_eq!((second.0.body.as_str(), second.1), (marker.as_str(), rest.len()), "{context}");
        } else {
            assert_eq!(rest, b"", "{context}");
        }
    }
    assert_eq!(upstream.script().faults, Vec::<String>::new());
    println!(
        "{pairs} pairs of seed {seed}: {whole} whole, {broken} broken off, {refused} answers and {bad} requests refused"
    );
}
