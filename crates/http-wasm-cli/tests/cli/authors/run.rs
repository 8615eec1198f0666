//! `run`: sources of the request and the response, and the output.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use serde_json::Value;

use super::{file, of, output, traced};
use crate::support::path;

/// Sets `x-user: ann` on requests, logs, and lets them proceed with a `req_ctx` of 7.
const TAGS: &str = "(call $log (i32.const 0) (i32.const 32) (i32.const 3))
    (call $set (i32.const 0) (i32.const 0) (i32.const 6) (i32.const 32) (i32.const 3))
    i64.const 0x700000001";

#[test]
fn run_shows_the_request_at_the_next_handler_and_the_response_at_the_client() {
    let guest = of(TAGS, "");
    let (stdout, stderr, code) =
        output(&["run", path(&guest), "http://example.org/a?b", "-X", "PUT", "-d", "hi"]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)), "{stdout}");
    let expected = "-- the request as the next handler receives it\n\
        PUT /a?b HTTP/1.1\n\
        host: example.org\n\
        user-agent: http-wasm\n\
        accept: */*\n\
        content-length: 2\n\
        x-user: ann\n\
        \n\
        hi\n\
        \n\
        -- the response as the client receives it\n\
        200 OK\n\
        content-type: text/plain\n\
        content-length: 11\n\
        \n\
        hello world\n";
    assert_eq!(stdout, expected);
}

#[test]
fn a_trace_has_phases_calls_log_lines_and_the_next_handler_in_order() {
    let guest = of(TAGS, "(drop (call $get_uri (i32.const 1024) (i32.const 64)))");
    let trace = traced(&guest, &["/a"]);
    let lines: Vec<_> = trace.lines().take(10).map(|line| line.split(" [").next().unwrap_or(line)).collect();
    let expected = [
        "-- what the guest did",
        "start-up",
        "handle_request()",
        "  log(level: info, message: \"ann\")",
        "  set_header_value(kind: request headers, name: \"x-user\", value: \"ann\")",
        "  = next 1, req_ctx 7: the request proceeds",
        "next handler",
        "  = 200",
        "handle_response(req_ctx: 7, is_error: false)",
        "  get_uri(buf: 64 bytes) = \"/a\"",
    ];
    assert_eq!(lines, expected, "{trace}");
}

#[test]
fn the_json_trace_has_one_object_per_event() {
    let guest = of(TAGS, "");
    let (stdout, ..) = output(&["run", path(&guest), "--trace", "--json"]);
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().expect("a text")).collect();
    let expected = [
        "created", "started", "entered", "call", "call", "returned", "next", "answered", "entered",
        "returned", "request", "response",
    ];
    assert_eq!(events, expected);
    let call = &lines[4];
    assert_eq!(call["function"], "set_header_value");
    assert_eq!(
        call["arguments"],
        serde_json::json!({ "kind": "request headers", "name": "x-user", "value": "ann" })
    );
    assert_eq!((&call["bytes"], &lines[5]["req_ctx"]), (&Value::from(9), &Value::from(7)));
    assert_eq!((&lines[10]["method"], &lines[11]["body"]), (&"GET".into(), &"hello world".into()));
}

#[test]
fn requests_and_responses_come_from_files_in_http_format() {
    let guest = of(TAGS, "");
    let request = file(".http", "POST /form HTTP/1.1\r\nhost: h\r\n\r\na=b");
    let response = file(".http", "HTTP/1.1 404 Not Found\r\nx-from: file\r\n\r\nnothing here");
    let (stdout, stderr, code) =
        output(&["run", path(&guest), "--request", path(&request), "--response", path(&response)]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    for part in ["POST /form HTTP/1.1", "a=b", "404 Not Found", "x-from: file", "nothing here"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (stdout, ..) = output(&["run", path(&guest), "/x", "--response", "echo"]);
    assert!(stdout.contains(r#"["x-user","ann"]"#), "{stdout}");
}

#[test]
fn a_har_file_gives_the_request_and_the_next_handlers_response() {
    let guest = of(TAGS, "");
    let har = file(
        ".har",
        r#"{"log": {"version": "1.2", "entries": [
          {"request": {"method": "GET", "url": "https://first.example/", "httpVersion": "HTTP/2", "headers": []},
           "response": {"status": 0, "headers": []}},
          {"request": {"method": "POST", "url": "https://second.example/p?q=1", "httpVersion": "h2",
             "headers": [{"name": ":authority", "value": "second.example"}, {"name": "Accept", "value": "*/*"}],
             "postData": {"mimeType": "text/plain", "text": "body"}},
           "response": {"status": 418, "headers": [{"name": "Content-Encoding", "value": "gzip"}],
             "content": {"text": "dGVhcG90", "encoding": "base64"}}}]}}"#,
    );
    let (stdout, stderr, code) = output(&["run", path(&guest), "--har", path(&har), "--entry", "2"]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    for part in ["POST /p?q=1 HTTP/2.0", "host: second.example", "\nbody\n", "418 I'm a teapot", "teapot\n"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    assert!(!stdout.contains("gzip"), "{stdout}");
    let (_, stderr, code) = output(&["run", path(&guest), "--har", path(&har), "--entry", "3"]);
    assert!(code == Some(2) && stderr.contains("there is no entry 3: the file has 2"), "{stderr}");
}

#[test]
fn a_url_forwards_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 203 OK\r\ncontent-length: 4\r\n\r\nback").expect("the client reads");
        String::from_utf8(head).expect("text")
    });
    let guest = of(TAGS, "");
    let (stdout, stderr, code) = output(&["run", path(&guest), "/up", "--response", &url]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)), "{stdout}");
    let head = server.join().expect("it ends");
    assert!(head.starts_with("GET /up HTTP/1.1\r\n") && head.contains("x-user: ann\r\n"), "{head}");
    assert!(stdout.contains("203 ") && stdout.ends_with("back\n"), "{stdout}");
}

#[test]
fn a_next_handler_without_a_response_is_an_error_for_the_guest() {
    let guest = of("i64.const 0x700000001", "");
    let trace = traced(&guest, &["--response", "none"]);
    for part in ["= no response", "handle_response(req_ctx: 7, is_error: true)", "there is no response: "] {
        assert!(trace.contains(part), "{part}: {trace}");
    }
}

#[test]
fn a_failing_guest_is_traced_up_to_the_failure_and_exits_with_65() {
    let guest = of("(call $log (i32.const 0) (i32.const 32) (i32.const 3)) unreachable", "");
    let (stdout, stderr, code) = output(&["run", path(&guest), "--trace"]);
    assert_eq!(code, Some(65));
    assert!(stderr.starts_with("error: the guest fails on this request: "), "{stderr}");
    let parts = [
        "message: \"ann\"",
        "failed: ",
        "why the guest failed",
        "handle_request",
        "500 Internal Server Error",
    ];
    for part in parts {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn invalid_arguments_exit_with_2_and_name_what_is_wrong() {
    let guest = of(TAGS, "");
    for (args, expected) in [
        (
            &["foo"][..],
            "error: URL foo: invalid URL foo: expected a path such as /a?b, or http://host/path\n",
        ),
        (&["--response", "/no/such"], "error: --response /no/such: no such file or directory\n"),
        (&["--response", "https://h/"], "only http:// URLs are supported here"),
        (&["-H", "no colon"], "expected NAME: VALUE"),
    ] {
        let (_, stderr, code) = output(&[&["run", path(&guest)], args].concat());
        assert!(code == Some(2) && stderr.contains(expected), "{args:?}: {stderr}");
    }
}
