//! Random heads, compared with what another parser finds in them. What is accepted must be the same there, and framed
//! as RFC 9112 says; what is refused gets an error and ends the connection.

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use http::{StatusCode, Version};

use super::head::{Head, Length, take};
use super::support::exchange;
use crate::http1::HeadScan;
use crate::listener::check::Refusal;

const HEADS: usize = 20_000;

/// How many of the refused heads are sent to a listener.
const SENT: usize = 300;

const MAX: usize = 64 * 1024;

/// A head, and whether all of its fragments are valid. They may still contradict each other.
struct Generated {
    bytes: Vec<u8>,
    valid: bool,
}

impl Generated {
    /// Adds a valid fragment, or sometimes one that may be invalid.
    fn add(&mut self, rng: &mut Rng, valid: &[&str], invalid: &[&str]) {
        let fragments = if rng.u8(..60) == 0 { invalid } else { valid };
        self.valid &= fragments == valid;
        self.bytes.extend_from_slice(rng.choice(fragments).expect("there are fragments").as_bytes());
    }

    fn line_end(&mut self, rng: &mut Rng) {
        self.add(
            rng,
            &["\r\n"],
            &["\n", "\r", "\r\r\n", "\n\r\n", " \r\n", "\0\r\n", "\r\n ", "\r\n\t", "\x0b\r\n"],
        );
    }
}

fn generated(rng: &mut Rng) -> Generated {
    let mut head = Generated { bytes: Vec::new(), valid: true };
    let methods =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "PATCH", "x-y", "!#$%&'*+.^_`|~0"];
    head.add(
        rng,
        &methods,
        &["", " GET", "G ET", "GE\tT", "G(T", "G\u{e4}", "GET:", "\0", "\r\nGET", "\r\n", "{"],
    );
    head.add(rng, &[" "], &["", "  ", "\t", "\x0b", "\r", " \0"]);
    let targets = [
        "/",
        "/a?b=c",
        "/%20",
        "*",
        "http://h/",
        "http://h:80/a",
        "h:443",
        "/a;b=c&d",
        "//",
        "/?",
        "/..",
        "/:@",
    ];
    head.add(
        rng,
        &targets,
        &["", "/a b", "/\t", "/\0", "/\u{7f}", "/<", "/\u{e4}", "\\", "/a#b", "http://", ":"],
    );
    head.add(rng, &[" "], &["", "  ", "\t", " \t", "\r"]);
    let versions = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"];
    let others = [
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/0.9",
        "http/1.1",
        "HTTP/1.10",
        "HTTP/1.",
        "HTTP/1.1 ",
        "",
        "HTTP/1.1\t",
    ];
    head.add(rng, &versions, &others);
    head.line_end(rng);
    for _ in 0..rng.usize(..6) {
        let framing: &[&str] =
            &["Content-Length", "Transfer-Encoding", "content-length", "TRANSFER-ENCODING"];
        let names: &[&str] =
            &["Host", "Connection", "Expect", "Upgrade", "X-A", "x", "TE", "!#$%&'*+-.^_`|~"];
        let is_framing = rng.u8(..4) == 0;
        let invalid = [
            "",
            " X",
            "X ",
            "X\t",
            "X Y",
            "X\0",
            "X\u{e4}",
            "X(",
            "Content-Length ",
            "Transfer-Encoding\x0b",
            "\"",
        ];
        head.add(rng, if is_framing { framing } else { names }, &invalid);
        head.add(rng, &[":", ": ", ":\t ", ":  "], &["", " :", "\t:", ":\x0b", ":\0", ":\r", ":\n"]);
        let lengths = ["0", "5", "007", "18446744073709551615", "chunked", "Chunked"];
        let values = [
            "",
            "a",
            "a, b",
            "close",
            "keep-alive, x",
            "100-Continue",
            "a\tb",
            "\"\u{e4}\"",
            "upgrade , CLOSE",
        ];
        let broken = [
            "\0",
            "a\x01",
            "a\x7f",
            "a\rb",
            "a\nb",
            "a\n b",
            "+5",
            "-0",
            "5, 5",
            "5 5",
            "0x5",
            "5;",
            "18446744073709551616",
            "gzip, chunked",
            "chunked, chunked",
            "chunked;a",
            "identity",
            "\x0bchunked",
            "5\u{c}",
            "",
        ];
        head.add(rng, if is_framing { &lengths } else { &values }, &broken);
        head.add(rng, &["", "", " ", "\t"], &["\x0b", "\0"]);
        head.line_end(rng);
    }
    head.bytes.extend_from_slice(b"\r\n");
    head
}

/// What the connection finds if `bytes` arrive in pieces of up to this size. `None` if the head is incomplete.
fn parsed(bytes: &[u8], piece: usize) -> Option<Result<(Bytes, Head), Refusal>> {
    let (mut scan, mut input) = (HeadScan::default(), BytesMut::new());
    for piece in bytes.chunks(piece) {
        input.extend_from_slice(piece);
        match take(&mut scan, &mut input, MAX) {
            Ok(None) => {}
            Ok(Some(head)) => return Some(Head::parse(&head).map(|parsed| (head, parsed))),
            Err(refusal) => return Some(Err(refusal)),
        }
    }
    None
}

/// The length of a body with these framing fields, if they are allowed.
fn length(is_http11: bool, lengths: &[&[u8]], codings: &[&[u8]]) -> Option<Length> {
    match (lengths, codings) {
        ([], []) => Some(Length::Known(0)),
        ([length], []) if length.iter().all(u8::is_ascii_digit) => {
            Some(Length::Known(str::from_utf8(length).ok()?.parse().ok()?))
        }
        ([], [coding]) if is_http11 && coding.eq_ignore_ascii_case(b"chunked") => Some(Length::Chunked),
        _ => None,
    }
}

fn trimmed(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(start) = value.iter().position(|byte| !is_space(byte)) else { return b"" };
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// The values of all fields with this name.
fn values<'a>(other: &'a httparse::Request<'_, '_>, name: &str) -> Vec<&'a [u8]> {
    let fields = other.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    fields.map(|field| trimmed(field.value)).collect()
}

/// Checks an accepted head against the other parser.
fn compare(bytes: &[u8], head: &Head) {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut other = httparse::Request::new(&mut fields);
    let shown = String::from_utf8_lossy(bytes);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(bytes.len())), "{shown:?}");
    let Head { request, .. } = head;
    let is_http11 = request.version() == Version::HTTP_11;
    assert_eq!(other.method, Some(request.method().as_str()), "{shown:?}");
    assert_eq!(other.version, Some(u8::from(is_http11)), "{shown:?}");
    let target = other.path.expect("it is complete").split('#').next().expect("it isn't empty");
    assert_eq!(request.uri().to_string().trim_end_matches('/'), target.trim_end_matches('/'), "{shown:?}");

    assert_eq!(request.headers().len(), other.headers.len(), "{shown:?}");
    for name in request.headers().keys() {
        let ours: Vec<_> = request.headers().get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
        assert_eq!(ours, values(&other, name.as_str()), "{shown:?}");
    }
    let expected = length(is_http11, &values(&other, "content-length"), &values(&other, "transfer-encoding"));
    assert_eq!(Some(head.length), expected, "{shown:?}");
    let options = values(&other, "connection");
    let mut options = options.iter().flat_map(|value| value.split(|&byte| byte == b',')).map(trimmed);
    let has = |name: &str| options.clone().any(|option| option.eq_ignore_ascii_case(name.as_bytes()));
    let keep_alive = !has("close") && (is_http11 || has("keep-alive"));
    assert_eq!(head.keep_alive, keep_alive, "{shown:?}");
    assert!(options.all(|option| !option.contains(&b'\0')), "{shown:?}");
    let upgrades = is_http11 && !values(&other, "upgrade").is_empty() || other.method == Some("CONNECT");
    assert_eq!(head.upgrades, upgrades, "{shown:?}");
}

#[tokio::test]
async fn accepted_heads_are_the_same_in_another_parser_and_others_are_refused() {
    let mut rng = Rng::with_seed(1);
    let (mut accepted, mut refused) = (0, Vec::new());
    for _ in 0..HEADS {
        let Generated { bytes, valid } = generated(&mut rng);
        let piece = rng.usize(1..40);
        let shown = String::from_utf8_lossy(&bytes);
        match parsed(&bytes, bytes.len()) {
            Some(Ok((taken, head))) => {
                compare(&taken, &head);
                let (again, _) = parsed(&bytes, piece).expect("it is complete").expect("it is accepted");
                assert_eq!(taken, again, "{piece}");
                accepted += 1;
            }
            Some(Err(refusal)) => {
                assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{shown:?}");
                assert!(matches!(parsed(&bytes, piece), Some(Err(_))), "{shown:?} by {piece}");
                let mut fields = [httparse::EMPTY_HEADER; 32];
                let mut other = httparse::Request::new(&mut fields);
                if valid && other.parse(&bytes).is_ok_and(|status| status.is_complete()) {
                    let values = |name| values(&other, name);
                    let length = length(
                        other.version == Some(1),
                        &values("content-length"),
                        &values("transfer-encoding"),
                    );
                    assert_eq!(length, None, "refused without a reason: {}: {shown:?}", refusal.reason);
                }
                refused.push(bytes);
            }
            None => assert!(!valid, "{shown:?}"),
        }
    }
    assert!(accepted > HEADS / 4 && refused.len() > HEADS / 4, "{accepted}, {}", refused.len());

    rng.shuffle(&mut refused);
    for head in &refused[..SENT] {
        let next = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        let (received, sent) = exchange(&[head, next.as_slice()].concat(), 1000).await;
        let shown = String::from_utf8_lossy(head);
        assert!(sent.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{shown:?}: {sent}");
        assert!(sent.contains("\r\nconnection: close\r\n"), "{shown:?}: {sent}");
        assert_eq!((sent.matches("HTTP/1.").count(), received.len()), (1, 1), "{shown:?}: {sent}");
        assert!(received[0].starts_with("refused "), "{shown:?}: {received:?}");
    }
}
