//! Misbehaving guests and clients.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;

use super::{Outgoing, Settings, Upstream, Wat, can_stream_requests, exchange, exchange_http2, program};

const READS: &str = "(drop (call $enable_features (i32.const 7))) (drop (call $read_all (i32.const 0)))";
const READS_RESPONSE: &str = "(drop (call $read_all (i32.const 1)))";

/// The paths of [`routes`].
pub(crate) const PATHS: [&str; 14] = [
    "/ignores",
    "/reads",
    "/replaces",
    "/replies",
    "/loops",
    "/loops-late",
    "/computes-and-reads",
    "/traps",
    "/traps-reading",
    "/traps-late",
    "/traps-reading-late",
    "/streams",
    "/streams-computing",
    "/streams-trapping",
];

/// Code that copies a message piece by piece, and runs `code` in between.
fn copies(message: usize, code: &str) -> String {
    format!(
        "(local $read i64)
         (loop $more
           (local.set $read (call $read_body (i32.const {message}) (i32.const 65536) (i32.const 65536)))
           (call $write_body (i32.const {message}) (i32.const 65536) (i32.wrap_i64 (local.get $read)))
           {code}
           (br_if $more (i64.eqz (i64.shr_u (local.get $read) (i64.const 32)))))"
    )
}

/// Routes to guests that read, replace, answer, trap in each phase, loop forever, and stream if Envoy can do that.
pub(crate) fn routes(settings: &Settings) -> Vec<(&'static str, String)> {
    let stream = match program().is_some_and(|program| can_stream_requests(&program)) {
        true => r#""limits": {"deadline": "60s"}, "stream": true, "allow": ["undeclared-stream"]"#,
        false => "",
    };
    let streams = |code: &str| {
        let features = "(drop (call $enable_features (i32.const 2)))";
        let guest = Wat::new().on_request(&copies(0, code), &[]).on_request(features, &[]);
        (guest.on_response(&copies(1, code), &[]), stream)
    };
    let computes = "(global.set $n (i32.const 0))
        (loop $l (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (br_if $l (i32.lt_u (global.get $n) (i32.const 10000000))))";
    let forever = "(loop $for_ever (br $for_ever))";
    let reads = || Wat::new().on_request(READS, &[]);
    let brief = r#""limits": {"deadline": "30ms"}"#;
    let guests = [
        (Wat::new().on_response("(call $set_header_value (i32.const 1) {} {})", &["x-guest", "seen"]), ""),
        (reads().on_response(READS_RESPONSE, &[]), ""),
        (
            Wat::new()
                .on_request("(drop (call $enable_features (i32.const 2)))", &[])
                .on_request("(call $write_body (i32.const 0) {})", &["new"])
                .on_response("(call $write_body (i32.const 1) {})", &["new"]),
            "",
        ),
        (
            Wat::new().on_request(
                "(call $set_status_code (i32.const 403)) (call $write_body (i32.const 1) {}) (return (i64.const 0))",
                &["no"],
            ),
            "",
        ),
        (Wat::new().on_request(forever, &[]), brief),
        (Wat::new().on_response(forever, &[]), brief),
        // It moves to another thread before it waits.
        (
            Wat::new().on_request(computes, &[]).on_request(READS, &[]).on_response(READS_RESPONSE, &[]),
            r#""limits": {"deadline": "60s"}"#,
        ),
        (Wat::new().on_request("unreachable", &[]), ""),
        (reads().on_request("unreachable", &[]), ""),
        (Wat::new().on_response("unreachable", &[]), ""),
        (reads().on_response(READS_RESPONSE, &[]).on_response("unreachable", &[]), ""),
        streams(""),
        streams(computes),
        streams("(if (i64.gt_u (local.get $read) (i64.const 100)) (then unreachable))"),
    ];
    let route = |(path, (guest, more)): (&'static str, (Wat, &str))| {
        let guest = settings.guest(&path[1..], &guest, more);
        // A prefix would match longer names too.
        (path, format!(r#"{{"guests": {{"guest": {guest}}}}}"#))
    };
    let mut routes: Vec<_> = PATHS.into_iter().zip(guests).map(route).collect();
    // Routes are matched in order.
    routes.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    routes
}

/// The size of a body that is larger than what Envoy or a guest may hold.
const GIANT: usize = 3 << 20;

/// An upstream that sends giant or truncated bodies on request.
pub(crate) fn upstream() -> Upstream {
    Upstream::start(|request| {
        if request.path().ends_with("?giant") {
            let mut response = format!("HTTP/1.1 200 OK\r\ncontent-length: {GIANT}\r\n\r\n").into_bytes();
            response.resize(response.len() + GIANT, b'x');
            response
        } else if request.path().ends_with("?dies") {
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 100\r\n\r\npart".to_vec()
        } else {
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()
        }
    })
}

/// How a client misbehaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Abuse {
    /// Not at all.
    None,
    /// The same over HTTP/2.
    NoneHttp2,
    /// Hangs up in the middle of a request body.
    HangUp,
    /// Hangs up without reading the response.
    NoReader,
    /// Resets an HTTP/2 stream in the middle of a request body.
    Reset,
    /// Sends a body that is too large.
    GiantRequest,
    /// Reads a giant response slowly, and hangs up in the middle.
    SlowReader,
    /// The upstream breaks off its response.
    UpstreamDies,
}

/// All variants.
pub(crate) const ABUSES: [Abuse; 8] = [
    Abuse::None,
    Abuse::NoneHttp2,
    Abuse::HangUp,
    Abuse::NoReader,
    Abuse::Reset,
    Abuse::GiantRequest,
    Abuse::SlowReader,
    Abuse::UpstreamDies,
];

/// Sends a request for `path` in this way.
pub(crate) fn abuse(runtime: &Runtime, addr: SocketAddr, path: &str, abuse: Abuse) {
    let post = |query: &str, length: usize, body: &str| {
        format!(
            "POST {path}{query} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let send = |request: &str| {
        let mut socket = TcpStream::connect(addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let _cut = socket.write_all(request.as_bytes());
        socket
    };
    match abuse {
        Abuse::None => {
            exchange(addr, post("", 3, "abc").as_bytes());
        }
        Abuse::NoneHttp2 | Abuse::Reset => {
            let request = Outgoing {
                start: format!("POST {path}"),
                body: vec![Bytes::from_static(b"abc")],
                is_reset: matches!(abuse, Abuse::Reset),
                ..Outgoing::default()
            };
            exchange_http2(runtime, addr, &request);
        }
        Abuse::HangUp => {
            let _socket = send(&post("", 10, "abc"));
            std::thread::sleep(Duration::from_millis(5));
        }
        Abuse::NoReader => drop(send(&post("", 3, "abc"))),
        Abuse::GiantRequest => {
            // A client that is still sending may lose a response that comes before the end of the request.
            let mut socket = send(&post("", GIANT, &"x".repeat(GIANT)));
            let _lost = socket.read_to_end(&mut Vec::new());
        }
        Abuse::SlowReader => {
            let mut socket = send(&post("?giant", 3, "abc"));
            let mut piece = vec![0; 64 * 1024];
            for _ in 0..5 {
                std::thread::sleep(Duration::from_millis(3));
                if !matches!(socket.read(&mut piece), Ok(1..)) {
                    break;
                }
            }
        }
        Abuse::UpstreamDies => {
            exchange(addr, post("?dies", 3, "abc").as_bytes());
        }
    }
}
