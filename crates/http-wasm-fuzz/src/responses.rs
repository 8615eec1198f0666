//! Responses of HTTP/1.1 upstreams in any shape: what the gateway's reader forwards has the same meaning to all
//! readers.

use arbitrary::{Result, Unstructured};
use http::Method;
use http_wasm_gateway::fuzzing::{ReadResponse, read_response};

use crate::client::{Answer, ask};

/// Reads the response that the input describes, first with the gateway's reader and then with hyper; see [`crate`].
pub fn responses(input: &[u8]) {
    let Ok(case) = Case::generate(&mut Unstructured::new(input)) else { return };
    case.check();
}

struct Case {
    method: Method,
    response: Vec<u8>,
    pieces: Vec<usize>,
}

impl Case {
    fn check(&self) {
        let whole = self.read(&[usize::MAX]);
        let read = self.read(&self.pieces);
        assert_eq!((&read.passed, &read.refused), (&whole.passed, &whole.refused), "pieces matter: {self:?}");
        let expected = message(&self.method, &whole.passed);
        let answer = ask(&self.method, &whole.passed);
        match (&expected, &whole.refused) {
            (Some(message), refused) => {
                assert!(message.end == whole.passed.len(), "bytes behind the message: {self:?}");
                assert_eq!(refused, &None, "{self:?}");
                assert!(!message.until_close || !whole.may_reuse, "reused: {self:?}");
                assert_eq!(
                    answer,
                    Some(Answer { status: message.status, body: message.body.clone() }),
                    "{self:?}"
                );
                // hyper reads the same from the original bytes, if it can.
                let original = ask(&self.method, &self.response).filter(|answer| answer.body.is_some());
                if let Some(original) = original.filter(|_| refused.is_none()) {
                    assert_eq!(
                        (original.status, &original.body),
                        (message.status, &message.body),
                        "{self:?}"
                    );
                }
            }
            // A rejected response doesn't look complete to any reader.
            (None, _) => assert!(answer.is_none_or(|answer| answer.body.is_none()), "{self:?}: {whole:?}"),
        }
    }

    fn read(&self, pieces: &[usize]) -> ReadResponse {
        let mut pieces = pieces.iter().copied().cycle();
        read_response(&self.method, &self.response, &mut || pieces.next().unwrap_or(usize::MAX))
    }

    fn generate(u: &mut Unstructured<'_>) -> Result<Self> {
        let method = u.choose(&[Method::GET, Method::GET, Method::POST, Method::HEAD])?.clone();
        let count = u.int_in_range(1..=4)?;
        let pieces = (0..count).map(|_| u.int_in_range(1..=40)).collect::<Result<_>>()?;
        let len = u.len();
        let response = if u.ratio(1, 8)? { u.bytes(len)?.to_vec() } else { response(u)? };
        Ok(Self { method, response, pieces })
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {:?}: {}", self.method, self.pieces, self.response.escape_ascii())
    }
}

/// A complete response.
struct Message {
    status: u16,
    /// For a response that ends with the connection, this is what has arrived.
    body: Option<Vec<u8>>,
    until_close: bool,
    end: usize,
}

/// Reads a response by the simplest rules, as a model of the reader. Panics if the response violates one. Returns
/// `None` if it is incomplete.
fn message(method: &Method, input: &[u8]) -> Option<Message> {
    let mut at = 0;
    loop {
        let head_end = at + find(&input[at..], b"\r\n\r\n")? + 4;
        let head = str_of(&input[at..head_end - 4]);
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        assert!(line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 "), "status line {line:?}");
        let status: u16 = line[9..12].parse().expect("a status of digits");
        let (mut lengths, mut codings) = (Vec::new(), Vec::new());
        for line in lines {
            assert!(
                !line.contains(['\r', '\n', '\0']) && !line.starts_with([' ', '\t']),
                "field line {line:?}"
            );
            let (name, value) = line.split_once(':').expect("a colon");
            assert!(!name.is_empty() && !name.contains([' ', '\t']), "field name {name:?}");
            let value = value.trim_matches([' ', '\t']).to_owned();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => lengths.push(value),
                "transfer-encoding" => codings.push(value.to_ascii_lowercase()),
                _ => {}
            }
        }
        assert!(lengths.len() + codings.len() <= 1, "several framing fields: {head:?}");
        assert!(codings.iter().all(|coding| coding == "chunked"), "another coding: {head:?}");
        at = head_end;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let rest = &input[at..];
        let until_close =
            |status| Message { status, body: Some(rest.to_vec()), until_close: true, end: input.len() };
        if status == 101 {
            return Some(Message { body: Some(Vec::new()), ..until_close(status) });
        }
        let (body, used) = if method == Method::HEAD || matches!(status, 204 | 304) {
            (Vec::new(), 0)
        } else if !codings.is_empty() {
            chunks(rest)?
        } else if let Some(length) = lengths.first() {
            let length = usize::try_from(length.parse::<u64>().expect("a length of digits")).ok()?;
            (rest.get(..length)?.to_vec(), length)
        } else {
            return Some(until_close(status));
        };
        return Some(Message { status, body: Some(body), until_close: false, end: at + used });
    }
}

/// The data of a chunked body, and the encoded length.
fn chunks(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let line = find(&input[at..], b"\r\n")?;
        let size = str_of(&input[at..at + line]);
        assert!(!size.contains(['\r', '\n']), "size {size:?}");
        let digits = size.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
        let size = usize::try_from(u64::from_str_radix(digits, 16).expect("a size of digits")).ok()?;
        at += line + 2;
        if size == 0 {
            loop {
                let line = find(&input[at..], b"\r\n")?;
                at += line + 2;
                if line == 0 {
                    return Some((data, at));
                }
            }
        }
        data.extend_from_slice(input.get(at..at.checked_add(size)?)?);
        at += size;
        let end = input.get(at..at + 2)?;
        assert_eq!(end, b"\r\n", "the end of a chunk");
        at += 2;
    }
}

fn find(input: &[u8], text: &[u8]) -> Option<usize> {
    input.windows(text.len()).position(|window| window == text)
}

fn str_of(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

const LINES: [&str; 13] = [
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200 OK",
    "HTTP/1.1 200",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 X",
    "HTTP/1.1 304 X",
    "HTTP/1.1 205 X",
    "HTTP/1.1 404 X",
    "HTTP/1.1 101 X",
    "HTTP/1.1 2000 X",
    "HTTP/1.2 200 X",
    "HTTP/1.1  200 X",
    "HTTP/1.1 099 X",
];

const FIELDS: [&str; 32] = [
    "Content-Length: 5",
    "Content-Length: 5",
    "content-length:5",
    "Content-Length: 0",
    "Content-Length: 5, 5",
    "Content-Length: 5,6",
    "Content-Length: 05",
    "Content-Length: +5",
    "Content-Length:",
    "Content-Length: 5 5",
    "Content-Length: 18446744073709551615",
    "Content-Length: 18446744073709551616",
    "Content-Length: 99999",
    "Content-Length : 5",
    "Content_Length: 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "transfer-encoding:CHUNKED",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding:",
    "Connection: close",
    "Connection: keep-alive",
    "Trailer: x",
    "X: y",
    "X: \u{e9}",
    "X",
    ": y",
    " X: y",
];

const ENDS: [&str; 8] = ["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r"];

const BODIES: [&str; 22] = [
    "",
    "hello",
    "hell",
    "hello!",
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n00\r\n\r\n",
    "2\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "6\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n",
    "5\r\nhello\r\n0\r\n",
    "5\r\nhello\r\n0\r\nX: y\n\r\n",
    "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
    "5\r\nhello\r\n0\r\nX\r\n\r\n",
    "ffffffffffffffff\r\nhello",
    "fffffffffffffffff\r\nhello",
    "5;\0\r\nhello\r\n",
];

const TRAILING_BYTES: [&str; 4] = ["", "", "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"];

/// A response made of fragments that may or may not fit together.
fn response(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut response = Vec::new();
    let mut put = |text: &str| response.extend(text.chars().map(|char| char as u32 as u8));
    if u.ratio(1, 8)? {
        put("HTTP/1.1 103 X\r\nLink: y\r\n\r\n");
    }
    let line = if u.ratio(1, 2)? { LINES[0] } else { *u.choose(&LINES)? };
    put(line);
    put(u.choose(&ENDS)?);
    for _ in 0..u.int_in_range(0..=3)? {
        put(u.choose(&FIELDS)?);
        put(u.choose(&ENDS)?);
    }
    put(u.choose(&ENDS)?);
    put(u.choose(&BODIES)?);
    put(u.choose(&TRAILING_BYTES)?);
    // Change something at a random position.
    if u.ratio(1, 8)? && !response.is_empty() {
        let at = u.int_in_range(0..=response.len() - 1)?;
        response[at] = u.arbitrary()?;
    }
    Ok(response)
}
