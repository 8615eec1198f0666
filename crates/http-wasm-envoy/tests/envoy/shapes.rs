//! Messages of every shape, over both HTTP versions on both sides, through guests that treat them differently.

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::support::{
    Envoy, Http2Upstream, Message, Outgoing, Settings, Upstream, Wat, exchange, exchange_http2, program,
};

/// A request and its response.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    method: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static [&'static str],
    has_length: bool,
    trailers: &'static [(&'static str, &'static str)],
    status: u16,
    response_headers: &'static [(&'static str, &'static str)],
    response_body: &'static [&'static str],
    response_has_length: bool,
    response_trailers: &'static [(&'static str, &'static str)],
}

const GET: Shape = Shape {
    name: "nothing in the request, a length in the response",
    method: "GET",
    headers: &[],
    body: &[],
    has_length: false,
    trailers: &[],
    status: 200,
    response_headers: &[],
    response_body: &["the ", "response"],
    response_has_length: true,
    response_trailers: &[],
};

const SHAPES: &[Shape] = &[
    GET,
    Shape { name: "lengths", method: "POST", body: &["the ", "request"], has_length: true, ..GET },
    Shape { name: "streams", method: "POST", body: &["the ", "request"], response_has_length: false, ..GET },
    Shape { name: "empty response", response_body: &[], ..GET },
    Shape {
        name: "trailers",
        method: "POST",
        body: &["the ", "request"],
        trailers: &[("x-end", "request")],
        response_has_length: false,
        response_trailers: &[("x-end", "response")],
        ..GET
    },
    Shape {
        name: "announced trailers",
        method: "POST",
        headers: &[("trailer", "x-end")],
        body: &["the ", "request"],
        trailers: &[("x-end", "request")],
        response_headers: &[("trailer", "x-end")],
        response_has_length: false,
        response_trailers: &[("x-end", "response")],
        ..GET
    },
    Shape { name: "HEAD", method: "HEAD", ..GET },
    Shape { name: "204", status: 204, response_body: &[], response_has_length: false, ..GET },
    Shape { name: "304", status: 304, response_body: &[], response_has_length: false, ..GET },
    Shape {
        name: "gRPC",
        method: "POST",
        headers: &[("content-type", "application/grpc"), ("te", "trailers")],
        body: &["\0\0\0\0\u{3}abc"],
        response_headers: &[("content-type", "application/grpc")],
        response_body: &["\0\0\0\0\u{3}def"],
        response_has_length: false,
        response_trailers: &[("grpc-status", "0")],
        ..GET
    },
    Shape {
        name: "trailers alone",
        method: "POST",
        headers: &[("content-type", "application/grpc"), ("te", "trailers")],
        body: &["\0\0\0\0\u{3}abc"],
        response_headers: &[("content-type", "application/grpc"), ("grpc-status", "5")],
        response_body: &[],
        response_has_length: false,
        ..GET
    },
];

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The expected trailers: if the body is replaced, trailers are lost unless they are announced or belong to gRPC.
fn trailers(headers: &[(&str, &str)], trailers: &[(&str, &str)], is_replaced: bool) -> Vec<(String, String)> {
    let is_kept = headers.iter().any(|(name, value)| *name == "trailer" || *value == "application/grpc");
    if is_replaced && !is_kept { Vec::new() } else { sorted(owned(trailers)) }
}

fn sorted(mut fields: Vec<(String, String)>) -> Vec<(String, String)> {
    fields.sort();
    fields
}

fn length(body: &[&str]) -> (String, String) {
    ("content-length".to_owned(), body.concat().len().to_string())
}

fn pieces(body: &[&str]) -> Vec<Bytes> {
    body.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect()
}

impl Shape {
    fn request(&self, at: usize, path: &str) -> Outgoing {
        let mut headers = owned(self.headers);
        headers.push(("x-shape".to_owned(), at.to_string()));
        headers.extend(self.has_length.then(|| length(self.body)));
        Outgoing {
            start: format!("{} {path}", self.method),
            headers,
            body: pieces(self.body),
            trailers: owned(self.trailers),
            ..Outgoing::default()
        }
    }

    fn response(&self) -> Outgoing {
        let mut headers = owned(self.response_headers);
        headers.extend(self.response_has_length.then(|| length(self.response_body)));
        let body = if self.method == "HEAD" { Vec::new() } else { pieces(self.response_body) };
        Outgoing {
            start: self.status.to_string(),
            headers,
            body,
            trailers: owned(self.response_trailers),
            ..Outgoing::default()
        }
    }

    fn has_response_body(&self) -> bool {
        self.method != "HEAD" && !matches!(self.status, 204 | 304)
    }
}

/// A message in HTTP/1.1 format.
fn http1(message: &Outgoing, is_request: bool) -> Vec<u8> {
    let mut text = match is_request {
        true => format!("{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n", message.start),
        false => format!("HTTP/1.1 {} Status\r\n", message.start),
    };
    let has_length = message.headers.iter().any(|(name, _)| name == "content-length");
    let is_chunked = !has_length && (!message.body.is_empty() || !message.trailers.is_empty());
    for (name, value) in &message.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if is_chunked {
        text += "transfer-encoding: chunked\r\n";
    } else if !has_length && !is_request && !matches!(&*message.start, "204" | "304") {
        text += "content-length: 0\r\n";
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    for piece in &message.body {
        if is_chunked {
            bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        }
        bytes.extend_from_slice(piece);
        if is_chunked {
            bytes.extend(b"\r\n");
        }
    }
    if is_chunked {
        bytes.extend(b"0\r\n");
        for (name, value) in &message.trailers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        bytes.extend(b"\r\n");
    }
    bytes
}

/// An upstream of either HTTP version.
enum AnyUpstream {
    Http1(Upstream),
    Http2(Http2Upstream),
}

impl AnyUpstream {
    fn start(runtime: &Runtime, http2: bool) -> Self {
        let answer = |request: &Message| {
            let shape: usize = request.header("x-shape").unwrap().parse().unwrap();
            SHAPES[shape].response()
        };
        match http2 {
            true => Self::Http2(Http2Upstream::start(runtime, answer)),
            false => Self::Http1(Upstream::start(move |request| http1(&answer(request), false))),
        }
    }

    fn settings(&self) -> Settings {
        match self {
            Self::Http1(upstream) => Settings::new(upstream.addr),
            Self::Http2(upstream) => {
                let mut settings = Settings::new(upstream.addr);
                settings.http2_upstream = true;
                settings
            }
        }
    }

    fn got(&self) -> Vec<Message> {
        match self {
            Self::Http1(upstream) => upstream.got(),
            Self::Http2(upstream) => upstream.got(),
        }
    }
}

/// What a guest does to the body of a message.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Ignores,
    Reads,
    ReplacesRequest,
    ReplacesResponse,
    Replies,
}

const GUESTS: &[(&str, Does)] = &[
    ("/ignores", Does::Ignores),
    ("/reads", Does::Reads),
    ("/replaces-request", Does::ReplacesRequest),
    ("/replaces-response", Does::ReplacesResponse),
    ("/replies", Does::Replies),
];

impl Does {
    fn guest(self) -> Wat {
        match self {
            Self::Ignores => Wat::new(),
            Self::Reads => Wat::new()
                .on_request("(drop (call $enable_features (i32.const 7))) (drop (call $read_all (i32.const 0)))", &[])
                .on_response("(drop (call $read_all (i32.const 1)))", &[]),
            Self::ReplacesRequest => Wat::new().on_request("(call $write_body (i32.const 0) {})", &["new request"]),
            Self::ReplacesResponse => Wat::new()
                .on_request("(drop (call $enable_features (i32.const 2)))", &[])
                .on_response("(call $write_body (i32.const 1) {})", &["new response"]),
            Self::Replies => Wat::new().on_request(
                "(call $set_status_code (i32.const 403)) (call $write_body (i32.const 1) {}) (return (i64.const 0))",
                &["a reply"],
            ),
        }
    }
}

/// Checks that a message has at most one framing header, and that the declared length is that of its body.
fn assert_framed(message: &Message, is_bodyless: bool, context: &str) {
    assert!(!message.is_cut, "{context}: {message:?}");
    if let Some(length) = message.header("content-length") {
        assert_eq!(message.header("transfer-encoding"), None, "{context}: {message:?}");
        let expected = message.body.len().to_string();
        assert!(is_bodyless || length == expected, "{context}: {message:?}");
    }
    if is_bodyless {
        assert!(message.body.is_empty() && message.trailers.is_empty(), "{context}: {message:?}");
    }
}

fn check(
    runtime: &Runtime,
    envoy: &Envoy,
    upstream: &AnyUpstream,
    http2_client: bool,
    (path, does): (&str, Does),
    at: usize,
) {
    let shape = &SHAPES[at];
    let protocol = if matches!(upstream, AnyUpstream::Http2(_)) { 2 } else { 1 };
    let context =
        format!("HTTP/{}, {path}, {}, HTTP/{protocol}", if http2_client { 2 } else { 1 }, shape.name);
    let request = shape.request(at, path);
    let response = match http2_client {
        true => exchange_http2(runtime, envoy.addr, &request),
        false => exchange(envoy.addr, &http1(&request, true)),
    };
    assert_framed(
        &response,
        !shape.has_response_body() && does != Does::Replies || shape.method == "HEAD",
        &context,
    );
    let mut got = upstream.got();
    if does == Does::Replies {
        assert!(got.is_empty(), "{context}: {got:?}");
        let body = if shape.method == "HEAD" { "" } else { "a reply" };
        let is_grpc = shape.headers.iter().any(|(_, value)| *value == "application/grpc");
        // Envoy answers gRPC clients with 200 and a gRPC status.
        assert_eq!(
            response.header("grpc-status"),
            is_grpc.then(|| "7".to_owned()),
            "{context}: {response:?}"
        );
        if !is_grpc {
            assert_eq!((response.status(), &*response.text()), (403, body), "{context}");
        }
        return;
    }
    assert_eq!(got.len(), 1, "{context}: {response:?}");
    let got = got.remove(0);
    assert_framed(&got, false, &context);
    assert!(
        got.start.starts_with(&format!("{} {path} HTTP/{protocol}", shape.method)),
        "{context}: {}",
        got.start
    );
    let body = if does == Does::ReplacesRequest { "new request".to_owned() } else { shape.body.concat() };
    assert_eq!(got.text(), body, "{context}");
    let expected = trailers(shape.headers, shape.trailers, does == Does::ReplacesRequest);
    assert_eq!(sorted(got.trailers.clone()), expected, "{context}: the request's trailers");

    assert_eq!(response.status(), shape.status, "{context}");
    let body = match does {
        _ if !shape.has_response_body() => String::new(),
        Does::ReplacesResponse => "new response".to_owned(),
        _ => shape.response_body.concat(),
    };
    assert_eq!(response.text(), body, "{context}");
    let expected = trailers(shape.response_headers, shape.response_trailers, does == Does::ReplacesResponse);
    assert_eq!(sorted(response.trailers.clone()), expected, "{context}: the response's trailers");
    for (name, value) in shape.response_headers {
        assert_eq!(response.header(name).as_deref(), Some(*value), "{context}");
    }
}

#[test]
fn messages_of_every_shape_pass_with_the_guests_changes_in_both_http_versions() {
    let Some(program) = program() else { return };
    let runtime = Runtime::new().unwrap();
    for http2_upstream in [false, true] {
        let upstream = AnyUpstream::start(&runtime, http2_upstream);
        let mut settings = upstream.settings();
        for (path, does) in GUESTS {
            settings = settings.route(path, &does.guest(), "");
        }
        let mut envoy = settings.start(&program);
        for http2_client in [false, true] {
            for &guest in GUESTS {
                for at in 0..SHAPES.len() {
                    check(&runtime, &envoy, &upstream, http2_client, guest, at);
                }
            }
        }
        envoy.assert_alive();
    }
}

#[test]
fn early_answers_and_resets_over_http2_reach_the_other_end() {
    let Some(program) = program() else { return };
    let runtime = Runtime::new().unwrap();
    let upstream = Http2Upstream::start(&runtime, |request| {
        let mut answer = SHAPES[0].response();
        match request.header("x-how").as_deref() {
            Some("early") => {
                answer.start = "413".into();
                answer.is_early = true;
            }
            Some("reset") => {
                answer.headers.clear();
                answer.is_reset = true;
            }
            _ => {}
        }
        answer
    });
    let mut settings = Settings::new(upstream.addr);
    settings.http2_upstream = true;
    for (path, does) in GUESTS.iter().filter(|(_, does)| *does != Does::Replies) {
        settings = settings.route(path, &does.guest(), "");
    }
    let mut envoy = settings.start(&program);
    for (path, does) in GUESTS.iter().filter(|(_, does)| *does != Does::Replies) {
        let with = |how: &str| Outgoing {
            start: format!("POST {path}"),
            headers: owned(&[("x-how", how)]),
            body: pieces(&["abc"]),
            ..Outgoing::default()
        };
        let early = exchange_http2(&runtime, envoy.addr, &with("early"));
        assert_eq!(early.status(), 413, "{path}");

        // A guest that has replaced the body, or waits for all of it, decides before the reset arrives.
        let reset = exchange_http2(&runtime, envoy.addr, &with("reset"));
        match does {
            Does::ReplacesResponse => {}
            Does::Reads => assert!(reset.is_cut || reset.status() >= 500, "{path}: {reset:?}"),
            _ => assert!(reset.is_cut && reset.status() == 200, "{path}: {reset:?}"),
        }

        let mut cut = with("normal");
        cut.is_reset = true;
        let response = exchange_http2(&runtime, envoy.addr, &cut);
        assert!(response.is_cut || does == &Does::ReplacesRequest, "{path}: {response:?}");
        let whole = exchange_http2(&runtime, envoy.addr, &with("normal"));
        assert_eq!(whole.status(), 200, "{path}");
    }
    envoy.assert_alive();
}
