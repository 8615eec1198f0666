//! Clients that disconnect while a guest is computing: the call continues, and still counts against limits.

use std::time::Duration;

use crate::files::Files;
use crate::limits_http2::{CANCEL, HEADERS, RST_STREAM, connect, frame, next, number, request_with};
use crate::support::{Server, eventually, get, soon};

const REFUSED_STREAM: u32 = 7;

/// Counts its requests. It computes forever for `/loop`, for half a second or so for `/compute`, and answers `/number`
/// with its count.
const COUNTS: &str = r#"(module
  (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
  (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
  (memory (export "memory") 1)
  (global $count (mut i32) (i32.const 0))
  (func $compute (param $rounds i32)
    (loop $more
      (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
      (br_if $more (local.get $rounds))))
  (func $begins_with (param $letter i32) (result i32) (i32.eq (i32.load8_u (i32.const 1)) (local.get $letter)))
  (func (export "handle_request") (result i64)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (drop (call $get_uri (i32.const 0) (i32.const 100)))
    (if (call $begins_with (i32.const 108)) (then (loop $forever (br $forever))))
    (if (call $begins_with (i32.const 99)) (then (call $compute (i32.const 500000000))))
    (if (call $begins_with (i32.const 110))
      (then
        (i32.store8 (i32.const 200) (i32.add (i32.const 48) (global.get $count)))
        (call $write_body (i32.const 1) (i32.const 200) (i32.const 1))
        (return (i64.const 0))))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32)))"#;

async fn server(settings: &str, deadline: &str) -> Server {
    let files = Files::new();
    files.write("counts.wat", COUNTS);
    let config = format!(
        "{settings}\n[guests.counts]\npath = 'counts.wat'\nlimits.deadline = '{deadline}'\n\
         [[routes]]\nguests = ['counts']\nbackend = 'echo'\n"
    );
    Server::start_with(files, &config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_reset_drops_no_instance_and_releases_no_permit() {
    let server = server("listen = ['127.0.0.1:0']\n[server]\nmax_requests = 1", "20s").await;
    let mut raw = server.connect().await;
    raw.send("GET /compute HTTP/1.1\r\nHost: h\r\n\r\n").await;
    // Until the guest is computing.
    tokio::time::sleep(Duration::from_millis(100)).await;
    raw.0.set_zero_linger().expect("a socket takes that");
    drop(raw);
    let response = eventually(async || {
        let response = get(server.addr, "/number").await;
        (!response.starts_with("HTTP/1.1 503")).then_some(response)
    })
    .await;
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("\r\n2"), "{response}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_streams_count_against_the_limit_while_a_guest_computes_for_them() {
    let settings = "[[listen]]\naddress = '127.0.0.1:0'\nlimits = { max_http2_streams = 2 }";
    let server = server(settings, "3s").await;
    let mut raw = connect(&server).await;
    let path = |path| (":path", path);
    let mut begun = 0;
    let mut streams = (1..).step_by(2);
    loop {
        let stream = streams.next().expect("there are many");
        raw.send(request_for(stream, path("/loop"))).await;
        // Until the guest is computing, unless the request is refused.
        let refused = tokio::time::timeout(Duration::from_millis(100), reset(&mut raw, stream)).await;
        if refused == Ok(REFUSED_STREAM) {
            break;
        }
        assert_eq!(refused.ok(), None, "no other reason");
        raw.send(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())).await;
        begun += 1;
        assert!(begun <= 2, "resets are for nothing");
    }
    // Other clients aren't affected, nor is this one once the guest has been stopped.
    assert!(get(server.addr, "/number").await.starts_with("HTTP/1.1 200"));
    eventually(async || {
        let stream = streams.next().expect("there are many");
        raw.send(request_for(stream, path("/number"))).await;
        loop {
            match soon(next(&mut raw)).await.expect("the connection is open") {
                (HEADERS, of, _) if of == stream => return Some(()),
                (RST_STREAM, of, _) if of == stream => return None,
                _ => {}
            }
        }
    })
    .await;
}

fn request_for(stream: u32, path: (&str, &str)) -> Vec<u8> {
    request_with(stream, &[(":method", "GET"), (":scheme", "http"), path, (":authority", "h")])
}

/// The reason for which the server resets a stream.
async fn reset(raw: &mut crate::support::Raw, stream: u32) -> u32 {
    loop {
        if let (RST_STREAM, of, payload) = next(raw).await.expect("the connection is open")
            && of == stream
        {
            return number(&payload);
        }
    }
}
