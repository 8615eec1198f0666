//! Requests that the listener refuses are in the access log and the metrics, with the status that the client got.

use serde_json::Value;

use crate::files::Files;
use crate::support::{Server, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_has_an_access_log_line_with_the_sent_status() {
    let files = Files::new();
    let log = files.path("access.log");
    let server = Server::start_with(
        files,
        "[[listen]]\naddress = '127.0.0.1:0'\n\
         limits = { max_request_body = 1500, body_timeout = '300ms', max_headers = 20, header_timeout = '300ms', \
         max_header_size = '256KiB' }\n\
         [access_log]\nfile = 'access.log'\n[[routes]]\nbackend = 'echo'\n",
    )
    .await;
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked =
        format!("POST /m HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    let fields = format!("GET /f HTTP/1.1\r\nHost: h\r\n{}\r\n", "x: y\r\n".repeat(50));
    let huge = format!("GET /h HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(300_000));
    let long = format!("GET /long?{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(70_000));
    for (request, status, target) in [
        ("GET /a HTTP/1.1\r\nHost: a,b\r\n\r\n", 400, "/a"),
        ("POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400, "/b"),
        ("GET /?\"x\" HTTP/1.1\r\nHost: h\r\n\r\n", 400, "/?%22x%22"),
        ("nonsense\r\n\r\n", 400, "/"),
        // TLS on a plain port.
        ("\u{16}\u{3}\u{1}", 400, "/"),
        (&fields, 431, "/f"),
        (&huge, 431, "/h"),
        (&long, 414, "/long?"),
        ("GET /t HTTP/1.1\r\nHost:", 408, "/t"),
        ("POST /l HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n", 413, "/l"),
        (&chunked, 413, "/m"),
        ("POST /s HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nx", 408, "/s"),
        ("HEAD /head HTTP/1.1\r\nHost: h\r\nA B: c\r\n\r\n", 400, "/head"),
        ("CONNECT c:1 HTTP/1.1\r\nHost: c:1\r\nA B: c\r\n\r\n", 400, "c:1"),
        ("CONNECT c:2 HTTP/1.1\r\nHost: c:2\r\nConnection: close\r\n\r\n", 501, "c:2"),
    ] {
        let before = std::fs::read_to_string(&log).unwrap_or_default().lines().count();
        let answer = server.exchange(request).await;
        assert_eq!(answer[9..12], status.to_string(), "{target}");
        let lines: Vec<Value> = eventually(async || {
            let text = std::fs::read_to_string(&log).ok()?;
            let new: Vec<_> =
                text.lines().skip(before).map(|line| serde_json::from_str(line).expect("JSON")).collect();
            (!new.is_empty()).then_some(new)
        })
        .await;
        assert_eq!(lines.len(), 1, "{target}: {lines:?}");
        assert_eq!(lines[0]["status"], status, "{target}");
        // Only the beginning of a long line is kept.
        let logged = lines[0]["target"].as_str().expect("a target");
        let is_same = if status == 414 { logged.starts_with(target) } else { logged == target };
        assert!(is_same, "{target}: {}", lines[0]);
        let outcome = if ["/m", "/s"].contains(&target) { "client_failed" } else { "complete" };
        assert_eq!(lines[0]["outcome"], outcome, "{target}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body.is_empty(), target == "/head");
        assert_eq!(lines[0]["response_bytes"], body.len(), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_response_to_connect_opens_no_tunnel() {
    let server = Server::start(
        "listen = ['127.0.0.1:0']\n[[routes]]\nhost = 'refuses'\nrespond = { status = 405, body = 'no' }\n\
         [[routes]]\nrespond = { body = 'ok' }\n",
    )
    .await;
    for (host, status) in [("other", "501"), ("refuses", "405")] {
        let connect =
            format!("CONNECT {host}:1 HTTP/1.1\r\nHost: {host}:1\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n");
        let answer = server.exchange(format!("{connect}Connection: close\r\n\r\n")).await;
        assert_eq!(&answer[9..12], status, "{answer}");
        assert!(
            answer.contains("HTTP/1.1 200") && answer.ends_with("\r\n\r\nok"),
            "the connection continues: {answer}"
        );
    }
}
