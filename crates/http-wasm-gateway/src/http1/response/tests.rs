//! What is passed on of responses, however their bytes arrive.

use std::io;

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Handle, Limits, MAX_INFORMATIONAL, Refused, ResponseReader};

/// How a connection looks after the upstream has sent all it had, and closed.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    passed: String,
    refused: Option<Refused>,
    may_reuse: bool,
}

/// Sizes of the pieces in which bytes arrive.
const PIECES: [usize; 6] = [1, 2, 3, 7, 64, 1_000_000];

/// Reads what answers one request, up to the end or to an error. The connection may be used again if that was so before the upstream
/// closed it.
async fn read_in(pieces: usize, method: &Method, response: &[u8]) -> Read {
    let (mut upstream, connection) = tokio::io::duplex(pieces);
    let (mut reader, handle) = ResponseReader::new(connection, Limits::default());
    handle.begin(method);
    let response = response.to_vec();
    let sender = tokio::spawn(async move {
        upstream.read_exact(&mut [0]).await.expect("a request");
        // Nobody reads on behind what is refused.
        let _ = upstream.write_all(&response).await;
    });
    reader.write_all(b"G").await.expect("the request is taken");
    let (mut passed, mut may_reuse) = (Vec::new(), true);
    let refused = loop {
        match reader.read_buf(&mut passed).await {
            Ok(1..) => may_reuse = handle.may_reuse(),
            Ok(0) => break None,
            Err(error) => {
                may_reuse = handle.may_reuse();
                break Some(*Refused::cause_of(&error).expect("a reason"));
            }
        }
    };
    drop(reader);
    sender.await.expect("it sends");
    Read { passed: String::from_utf8_lossy(&passed).into_owned(), refused, may_reuse }
}

/// The same for all sizes of pieces, which make no difference.
async fn read_to(method: Method, response: &str) -> Read {
    let whole = read_in(PIECES[5], &method, response.as_bytes()).await;
    for pieces in PIECES {
        let read = read_in(pieces, &method, response.as_bytes()).await;
        assert_eq!((&read.passed, read.refused), (&whole.passed, whole.refused), "{response:?} by {pieces}");
    }
    whole
}

async fn read(response: &str) -> Read {
    read_to(Method::GET, response).await
}

/// A response that passes as it is.
#[track_caller]
fn passes(read: &Read, response: &str, may_reuse: bool) {
    assert_eq!((read.passed.as_str(), read.refused, read.may_reuse), (response, None, may_reuse));
}

#[tokio::test]
async fn responses_that_can_be_read_in_one_way_only_pass_as_they_are() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length:\t2 \r\n\r\nok",
        "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 299 \u{e4}\u{f6}\u{fc}\r\nX: \u{e4}\r\nContent-Length: 3\r\n\r\na\nb",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0a \r\n0123456789\r\n000\r\nX-Sum: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        passes(&read(response).await, response, true);
    }
}

#[tokio::test]
async fn a_body_without_a_length_lasts_as_long_as_the_connection() {
    for response in ["HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"] {
        passes(&read(response).await, response, false);
    }
}

#[tokio::test]
async fn responses_to_head_have_no_body() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        passes(&read_to(Method::HEAD, head).await, head, true);
        let followed = read_to(Method::HEAD, &format!("{head}hello")).await;
        assert_eq!((followed.passed.as_str(), followed.may_reuse), (head, false));
        assert!(matches!(followed.refused, Some(Refused::Surplus(_))), "{followed:?}");
    }
}

#[tokio::test]
async fn what_follows_a_switch_of_protocols_is_passed_unseen() {
    for (method, head) in [
        (Method::GET, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        (Method::CONNECT, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"),
    ] {
        let response = format!("{head}\n\0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
        passes(&read_to(method, &response).await, &response, false);
    }
}

#[tokio::test]
async fn a_length_beside_chunks_is_removed_and_the_connection_closed() {
    for head in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\nX: y\r\n",
        "Transfer-Encoding: chunked\r\nX: y\r\ncontent-length: 1\r\nCONTENT-LENGTH: 1\r\n",
    ] {
        let body = "5\r\nhello\r\n0\r\n\r\n";
        let read = read(&format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}HTTP/1.1 200 OK\r\n\r\n")).await;
        let expected = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\nconnection: close\r\n\r\n{body}"
        );
        passes(&read, &expected, false);
    }
}

#[tokio::test]
async fn a_length_that_is_repeated_passes_once() {
    for lengths in
        ["Content-Length: 2, 2", "Content-Length: 2\r\ncontent-length: 2", "Content-Length: 2 ,\t02,2"]
    {
        let read = read(&format!("HTTP/1.1 200 OK\r\n{lengths}\r\nX: y\r\n\r\nok")).await;
        passes(&read, "HTTP/1.1 200 OK\r\nX: y\r\ncontent-length: 2\r\n\r\nok", true);
    }
}

#[tokio::test]
async fn a_malformed_head_is_refused_and_nothing_of_it_passes() {
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
        let read = read(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n2\r\nok\r\n0\r\n\r\n")).await;
        assert!(matches!(read.refused, Some(Refused::Malformed(_))), "{head:?}: {read:?}");
        assert_eq!((read.passed.as_str(), read.may_reuse), ("", false), "{head:?}");
    }
}

#[tokio::test]
async fn a_malformed_status_line_is_refused() {
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
        let read = read(&format!("{line}\r\nContent-Length: 0\r\n\r\n")).await;
        assert!(matches!(read.refused, Some(Refused::Malformed(_))), "{line:?}: {read:?}");
        assert_eq!(read.passed, "", "{line:?}");
    }
    // The first line feed tells, and the rest of the head isn't waited for.
    assert!(matches!(read("HTTP/1.1 200 OK\n").await.refused, Some(Refused::Malformed(_))));
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(read(old).await.refused, Some(Refused::Malformed("Transfer-Encoding in HTTP/1.0")));
}

#[tokio::test]
async fn a_malformed_chunk_breaks_the_body_off_behind_those_before_it() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
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
        let read = read(&format!("{head}{good}{bad}")).await;
        assert!(matches!(read.refused, Some(Refused::Malformed(_))), "{bad:?}: {read:?}");
        assert_eq!((read.passed, read.may_reuse), (format!("{head}{good}"), false), "{bad:?}");
    }
}

#[tokio::test]
async fn a_response_that_ends_before_its_end_is_broken_off() {
    for (response, passed) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", false),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 2", false),
    ] {
        let read = read(response).await;
        assert!(matches!(read.refused, Some(Refused::Incomplete(_))), "{response:?}: {read:?}");
        assert!(!read.may_reuse);
        assert_eq!(read.passed == response, passed, "{response:?}");
    }
    // An upstream that answers nothing has said nothing wrong.
    passes(&read("").await, "", true);
}

#[tokio::test]
async fn bytes_behind_a_response_are_not_passed_and_the_connection_is_not_used_again() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        for surplus in ["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "\r\n", "\0"] {
            for pieces in PIECES {
                let all = format!("{response}{surplus}");
                let read = read_in(pieces, &Method::GET, all.as_bytes()).await;
                assert_eq!(
                    (read.passed.as_str(), read.refused.is_some() || !read.may_reuse),
                    (response, true)
                );
            }
        }
    }
}

/// A connection of which both ends are at hand.
fn connected() -> (tokio::io::DuplexStream, ResponseReader<tokio::io::DuplexStream>, Handle) {
    let (upstream, connection) = tokio::io::duplex(64 * 1024);
    let (reader, handle) = ResponseReader::new(connection, Limits::default());
    (upstream, reader, handle)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_carries_one_response_after_the_other() {
    let (mut upstream, mut reader, handle) = connected();
    for (method, response) in [
        (Method::GET, OK),
        (Method::HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        (Method::POST, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (Method::GET, OK),
    ] {
        handle.begin(&method);
        reader.write_all(b"request").await.unwrap();
        upstream.write_all(response).await.unwrap();
        let mut passed = vec![0; response.len()];
        reader.read_exact(&mut passed).await.unwrap();
        assert_eq!(passed, response);
        assert!(handle.may_reuse());
        // The rest of a request that was answered early.
        reader.write_all(b"HEAD / HTTP/1.1\r\n\r\n").await.unwrap();
    }
}

#[tokio::test]
async fn a_response_that_no_request_has_asked_for_is_refused() {
    for begun in [false, true] {
        let (mut upstream, mut reader, handle) = connected();
        upstream.write_all(OK).await.unwrap();
        if begun {
            handle.begin(&Method::GET);
        }
        let error = reader.read_u8().await.unwrap_err();
        assert!(matches!(Refused::cause_of(&error), Some(Refused::Surplus(_))), "{error}");
        assert!(!handle.may_reuse());
        // Nor is any request written that it could be taken for the answer to.
        handle.begin(&Method::GET);
        assert_eq!(reader.write_all(b"GET").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

#[tokio::test]
async fn heads_and_trailers_are_passed_up_to_their_limits() {
    let Limits { bytes, fields } = Limits::default();
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
    let refused =
        async |response: String| read_in(1_000_000, &Method::GET, response.as_bytes()).await.refused;
    assert_eq!(refused(largest).await, None);
    for response in [
        whole(&head(fields + 1, bytes), ""),
        whole(&head(fields, bytes + 1), ""),
        head(fields, bytes + 10_000)[..bytes + 1].to_owned(),
    ] {
        assert!(matches!(refused(response).await, Some(Refused::TooLarge(_))));
    }
    for trailers in [trailers(fields + 1, bytes), trailers(fields, bytes + 1)] {
        let refused = refused(whole(&head(1, 100), &trailers)).await;
        assert!(matches!(refused, Some(Refused::TooLarge(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn informational_responses_are_bounded_in_number_and_bytes() {
    let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let ok = String::from_utf8_lossy(OK);
    let (mut upstream, mut reader, handle) = connected();
    handle.begin(&Method::GET);
    reader.write_all(b"G").await.unwrap();
    let most = hint.repeat(MAX_INFORMATIONAL);
    upstream.write_all(format!("{most}{ok}").as_bytes()).await.unwrap();
    reader.read_exact(&mut vec![0; most.len() + ok.len()]).await.unwrap();
    assert_eq!(handle.informational(), MAX_INFORMATIONAL as u64);

    let large = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(10_000));
    for storm in [hint.repeat(MAX_INFORMATIONAL + 1), large.repeat(7)] {
        let read = read_in(1_000_000, &Method::GET, format!("{storm}{ok}").as_bytes()).await;
        assert!(matches!(read.refused, Some(Refused::TooLarge(_))), "{:?}", read.refused);
    }
}
