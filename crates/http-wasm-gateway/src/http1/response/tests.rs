//! Checks that responses are read in the same way however they are split.

use bytes::BytesMut;
use http::{HeaderMap, Method};

use super::{MAX_INFORMATIONAL, Part, ResponseError, ResponseLimits, ResponseReader};

/// What was read after the upstream has sent everything and closed the connection.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Read {
    /// Statuses of informational responses.
    informational: Vec<u16>,
    /// Status and fields.
    head: Option<(u16, Vec<String>)>,
    body: String,
    trailers: Vec<String>,
    /// Whether the response has come to its end.
    ended: bool,
    refused: Option<ResponseError>,
    may_reuse: bool,
}

/// Sizes of the pieces in which bytes arrive.
const PIECES: [usize; 6] = [1, 2, 3, 7, 64, 1_000_000];

fn fields(headers: &HeaderMap) -> Vec<String> {
    let text = |value: &[u8]| value.iter().map(|&byte| char::from(byte)).collect::<String>();
    headers.iter().map(|(name, value)| format!("{name}: {}", text(value.as_bytes()))).collect()
}

/// Reads the response to one request, until its end or an error.
fn read_in(pieces: usize, method: &Method, response: &[u8]) -> Read {
    let mut reader = ResponseReader::new(ResponseLimits::default());
    reader.begin(method);
    let (mut input, mut rest) = (BytesMut::new(), response);
    let (mut read, mut body) = (Read::default(), Vec::new());
    loop {
        let part = match reader.next(&mut input) {
            Ok(None) if rest.is_empty() => {
                read.may_reuse = reader.may_reuse();
                reader.ended(&input)
            }
            part => part,
        };
        match part {
            Ok(Some(Part::Informational(status, _))) => read.informational.push(status.as_u16()),
            Ok(Some(Part::Head(head))) => {
                read.head = Some((head.status().as_u16(), fields(head.headers())));
            }
            Ok(Some(Part::Data(data))) => {
                assert!(!data.is_empty());
                body.extend_from_slice(&data);
            }
            Ok(Some(Part::Trailers(trailers))) => read.trailers = fields(&trailers),
            Ok(Some(Part::End)) => {
                assert!(reader.is_idle());
                read.ended = true;
                // Further bytes are noticed when the connection is about to be reused.
                read.may_reuse = reader.may_reuse() && rest.is_empty();
                break;
            }
            Ok(None) if reader.is_opaque() => {
                body.extend_from_slice(&input);
                body.extend_from_slice(rest);
                read.may_reuse = reader.may_reuse();
                break;
            }
            Ok(None) if rest.is_empty() => break,
            Ok(None) => {
                let (piece, behind) = rest.split_at(pieces.min(rest.len()));
                input.extend_from_slice(piece);
                rest = behind;
            }
            Err(refused) => {
                assert_eq!(reader.next(&mut input).unwrap_err(), refused, "it stays refused");
                read.refused = Some(refused);
                read.may_reuse = reader.may_reuse();
                break;
            }
        }
    }
    read.body = String::from_utf8_lossy(&body).into_owned();
    read
}

/// The result for pieces of any size, which must not matter.
fn read_to(method: &Method, response: &str) -> Read {
    let whole = read_in(PIECES[5], method, response.as_bytes());
    for pieces in PIECES {
        assert_eq!(read_in(pieces, method, response.as_bytes()), whole, "{response:?} by {pieces}");
    }
    whole
}

fn read(response: &str) -> Read {
    read_to(&Method::GET, response)
}

/// A whole response.
fn whole(status: u16, fields: &[&str], body: &str, may_reuse: bool) -> Read {
    Read {
        head: Some((status, fields.iter().map(|&field| field.to_owned()).collect())),
        body: body.to_owned(),
        ended: true,
        may_reuse,
        ..Read::default()
    }
}

#[test]
fn unambiguous_responses_are_accepted() {
    let chunked = "transfer-encoding: Chunked";
    for (response, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", whole(200, &["content-length: 2"], "ok", true)),
        ("HTTP/1.1 200 OK\r\ncontent-length:\t2 \r\n\r\nok", whole(200, &["content-length: 2"], "ok", true)),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", whole(200, &["content-length: 0"], "", true)),
        ("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", whole(200, &["content-length: 0"], "", true)),
        (
            "HTTP/1.1 299 \u{e4}\u{f6}\u{fc}\r\nX: \u{e4}\r\nX:\r\nContent-Length: 3\r\n\r\na\nb",
            whole(299, &["x: \u{c3}\u{a4}", "x: ", "content-length: 3"], "a\nb", true),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: x, Keep-Alive\r\n\r\nok",
            whole(200, &["content-length: 2", "connection: x, Keep-Alive"], "ok", true),
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", whole(200, &["content-length: 2"], "ok", false)),
        (
            "HTTP/1.1 204 X\r\nConnection: keep-alive\r\nConnection: x ,CLOSE\r\n\r\n",
            whole(204, &["connection: keep-alive", "connection: x ,CLOSE"], "", false),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
             3;x=\"y\"\r\nabc\r\n0a \r\n0123456789\r\n000\r\nX-Sum: 1\r\nx-sum:2\r\n\r\n",
            Read {
                trailers: vec!["x-sum: 1".to_owned(), "x-sum: 2".to_owned()],
                ..whole(200, &[chunked], "abc0123456789", true)
            },
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", whole(200, &[chunked], "", true)),
        ("HTTP/1.1 204 No Content\r\n\r\n", whole(204, &[], "", true)),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            whole(204, &["content-length: 5"], "", true),
        ),
        ("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", whole(304, &["content-length: 5"], "", true)),
        ("HTTP/1.1 304 X\r\nTransfer-Encoding: Chunked\r\n\r\n", whole(304, &[chunked], "", true)),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Read { informational: vec![100, 103], ..whole(200, &["content-length: 2"], "ok", true) },
        ),
    ] {
        assert_eq!(read(response), expected, "{response:?}");
    }
}

#[test]
fn a_body_without_a_length_ends_with_the_connection() {
    let body = "HTTP/1.1 200 OK\r\n\r\n";
    for version in ["1.0", "1.1"] {
        assert_eq!(read(&format!("HTTP/{version} 200 OK\r\n\r\n{body}")), whole(200, &[], body, false));
    }
}

#[test]
fn responses_to_head_have_no_body() {
    for field in ["content-length: 5", "transfer-encoding: chunked"] {
        let head = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n");
        assert_eq!(read_to(&Method::HEAD, &head), whole(200, &[field], "", true));
        let followed = format!("{head}hello");
        assert_eq!(read_to(&Method::HEAD, &followed), whole(200, &[field], "", false));
    }
}

#[test]
fn bytes_after_a_protocol_switch_are_passed_through_unparsed() {
    let behind = "\n\0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    for (method, line, status) in [
        (Method::GET, "101 Switching Protocols\r\nUpgrade: x", 101),
        (Method::CONNECT, "200 OK\r\nContent-Length: 1", 200),
    ] {
        let read = read_to(&method, &format!("HTTP/1.1 {line}\r\n\r\n{behind}"));
        assert_eq!((read.head.unwrap().0, read.refused, read.may_reuse), (status, None, false));
        assert_eq!((read.body.as_str(), read.ended), (behind, false));
    }
}

#[test]
fn a_content_length_beside_chunked_is_removed_and_the_connection_not_reused() {
    for head in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\nX: y\r\n",
        "Transfer-Encoding: chunked\r\nX: y\r\ncontent-length: 1\r\nCONTENT-LENGTH: 1\r\n",
    ] {
        let mut read = read(&format!("HTTP/1.1 200 OK\r\n{head}\r\n5\r\nhello\r\n0\r\n\r\n"));
        read.head.as_mut().unwrap().1.sort();
        assert_eq!(read, whole(200, &["transfer-encoding: chunked", "x: y"], "hello", false));
    }
}

#[test]
fn a_repeated_equal_content_length_is_accepted() {
    for lengths in
        ["Content-Length: 2, 2", "Content-Length: 2\r\ncontent-length: 2", "Content-Length: 2 ,\t02,2"]
    {
        let read = read(&format!("HTTP/1.1 200 OK\r\n{lengths}\r\nX: y\r\n\r\nok"));
        assert_eq!(read, whole(200, &["content-length: 2", "x: y"], "ok", true));
    }
}

#[test]
fn a_malformed_response_head_is_refused_completely() {
    for head in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2, 3",
        "Content-Length: 2,",
        "Content-Length: ,2",
        "Content-Length: 2 2",
        "Content-Length: 2;2",
        "Content-Length: +2",
        "Content-Length: -2",
        "Content-Length: 0x2",
        "Content-Length: 2.0",
        "Content-Length: \"2\"",
        "Content-Length: two",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length: x\r\nTransfer-Encoding: chunked",
        "Content-Length: 1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nContent-Length: 2",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Content-Length: 2\nX: y",
        "Content-Length: 2\rX: y",
        "X: y\r\n Content-Length: 2",
        "X: y\r\n\tz",
        " X: y",
        "X",
        ": y",
        "X Y: z",
        "X\0: y",
        "X(: y",
        "X\u{e4}: y",
        "X: y\0",
        "X: \x01",
        "X: \x7f",
    ] {
        let read = read(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
        assert!(matches!(read.refused, Some(ResponseError::Malformed(_))), "{head:?}: {read:?}");
        assert_eq!((read.head, read.may_reuse), (None, false), "{head:?}");
    }
}

#[test]
fn a_malformed_status_line_is_refused() {
    for line in [
        "",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 20",
        "HTTP/1.1 099 X",
        "HTTP/1.1 2000 X",
        "HTTP/1.1 20x X",
        "HTTP/1.1  200 X",
        "HTTP/1.1\t200 X",
        "HTTP/1.1 200X",
        "HTTP/1.1 200\tX",
        "HTTP/1.2 200 X",
        "HTTP/0.9 200 X",
        "HTTP/2 200 X",
        "HTTP/2.0 200 X",
        "http/1.1 200 X",
        "ICY 200 X",
        "XHTTP/1.1 200 X",
        "HTTP/1.1 200 \0",
        "HTTP/1.1 200 a\rb",
        " HTTP/1.1 200 X",
        "HTTP/1.1 200 OK\nX: y",
        "hello",
        "\u{16}\u{3}\u{1}",
    ] {
        let read = read(&format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        assert!(matches!(read.refused, Some(ResponseError::Malformed(_))), "{line:?}: {read:?}");
        assert_eq!(read.head, None, "{line:?}");
    }
    // The first line feed is enough; the rest of the head isn't needed.
    assert!(matches!(read("HTTP/1.1 200 OK\n").refused, Some(ResponseError::Malformed(_))));
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(read(old).refused, Some(ResponseError::Malformed("Transfer-Encoding in HTTP/1.0")));
}

#[test]
fn a_malformed_chunk_aborts_the_body_after_the_preceding_chunks() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let body = |good: &str| if good.starts_with('3') { "abcabc" } else { "abc" };
    let long = format!("1;{}\r\nx\r\n", "x".repeat(300));
    for (good, bad) in [
        ("", "3\nabc\r\n0\r\n\r\n"),
        ("3\r\nabc", "d\r\n0\r\n\r\n"),
        ("3\r\nabc", "\n0\r\n\r\n"),
        ("3\r\nabc", "\r0\r\n\r\n"),
        ("", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("", "+3\r\nabc\r\n"),
        ("", " 3\r\nabc\r\n"),
        ("", "3 3\r\nabc\r\n"),
        ("", "\r\nabc\r\n"),
        ("", "g\r\n"),
        ("", ";x\r\n"),
        ("", "11112222333344445\r\nabc"),
        ("", "3;a\rb\r\nabc\r\n"),
        ("", "3;\0\r\nabc\r\n"),
        ("", &long),
        ("0\r\n", "x: y\n\r\n"),
        ("0\r\nx: y\r\n", " z\r\n\r\n"),
        ("0\r\n", "x : y\r\n\r\n"),
        ("0\r\n", "x\r\n\r\n"),
        ("0\r\n", "x: \0\r\n\r\n"),
    ] {
        let read = read(&format!("{head}{good}{bad}"));
        assert!(matches!(read.refused, Some(ResponseError::Malformed(_))), "{bad:?}: {read:?}");
        assert_eq!((read.body.as_str(), read.ended, read.may_reuse), (body(good), false, false), "{bad:?}");
    }
}

#[test]
fn a_response_that_ends_early_is_an_error() {
    for (response, has_head) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", false),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 2", false),
    ] {
        let read = read(response);
        assert!(matches!(read.refused, Some(ResponseError::Incomplete(_))), "{response:?}: {read:?}");
        assert_eq!(
            (read.ended, read.may_reuse, read.head.is_some()),
            (false, false, has_head),
            "{response:?}"
        );
        assert_eq!(read.body, if response.contains("\r\nok") { "ok" } else { "" });
    }
    // An upstream that sends nothing has sent nothing wrong.
    assert_eq!(read(""), Read { may_reuse: true, ..Read::default() });
}

#[test]
fn a_connection_is_not_reused_if_bytes_follow_a_response() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let alone = read(response);
        assert!(alone.may_reuse);
        for surplus in ["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "\r\n", "\0"] {
            assert_eq!(read(&format!("{response}{surplus}")), Read { may_reuse: false, ..alone.clone() });
        }
    }
}

#[test]
fn a_connection_carries_consecutive_responses() {
    let mut reader = ResponseReader::new(ResponseLimits::default());
    let mut input = BytesMut::new();
    for (method, response) in [
        (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        (Method::POST, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ] {
        reader.begin(&method);
        assert!(!reader.is_idle());
        input.extend_from_slice(response.as_bytes());
        while !matches!(reader.next(&mut input).unwrap().expect("all has come"), Part::End) {}
        assert!(reader.may_reuse() && reader.is_idle() && input.is_empty(), "{response:?}");
    }
}

#[test]
fn heads_and_trailers_are_accepted_up_to_their_limits() {
    let ResponseLimits { bytes, fields } = ResponseLimits::default();
    let head = |fields: usize, bytes: usize| {
        let mut head = String::from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n");
        (1..fields).for_each(|_| head.push_str("a: b\r\n"));
        let rest = bytes - head.len() - "\r\n".len();
        head.insert_str(head.find("\r\n").unwrap(), &"k".repeat(rest));
        head + "\r\n"
    };
    let trailers = |fields: usize, bytes: usize| {
        let mut trailers = "a: b\r\n".repeat(fields - 1);
        trailers.push_str(&format!("c: {}\r\n", "d".repeat(bytes - trailers.len() - "c: \r\n".len())));
        trailers
    };
    let whole = |head: &str, trailers: &str| format!("{head}0\r\n{trailers}\r\n");
    let largest = whole(&head(fields, bytes), &trailers(fields, bytes));
    let refused = |response: String| read_in(1_000_000, &Method::GET, response.as_bytes()).refused;
    assert_eq!(refused(largest), None);
    for response in [
        whole(&head(fields + 1, bytes), ""),
        whole(&head(fields, bytes + 1), ""),
        head(fields, bytes + 10_000)[..bytes + 1].to_owned(),
    ] {
        assert!(matches!(refused(response), Some(ResponseError::TooLarge(_))));
    }
    for trailers in [trailers(fields + 1, bytes), trailers(fields, bytes + 1)] {
        let refused = refused(whole(&head(1, 100), &trailers));
        assert!(matches!(refused, Some(ResponseError::TooLarge(_))), "{refused:?}");
    }
}

#[test]
fn informational_responses_are_bounded_in_number_and_bytes() {
    let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let most = read_in(1_000_000, &Method::GET, format!("{}{ok}", hint.repeat(MAX_INFORMATIONAL)).as_bytes());
    assert_eq!((most.informational.len(), most.ended), (MAX_INFORMATIONAL, true));

    let large = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(10_000));
    for storm in [hint.repeat(MAX_INFORMATIONAL + 1), large.repeat(7)] {
        let read = read_in(1_000_000, &Method::GET, format!("{storm}{ok}").as_bytes());
        assert!(matches!(read.refused, Some(ResponseError::TooLarge(_))), "{:?}", read.refused);
    }
}
