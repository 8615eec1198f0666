//! Uploads through a guest that reads bodies, from clients that stall.

use http::{Method, Request};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::served::Served;
use crate::support::{eventually, soon};

/// Reads the request body to the end, so that it is held for the backend.
const READS: &str = r#"(module
  (import "http_handler" "enable_features" (func $enable (param i32) (result i32)))
  (import "http_handler" "read_body" (func $read (param i32 i32 i32) (result i64)))
  (memory (export "memory") 2)
  (func (export "_initialize") (drop (call $enable (i32.const 1))))
  (func (export "handle_request") (result i64)
    (loop $more
      (br_if $more (i64.eqz (i64.shr_u (call $read (i32.const 0) (i32.const 0) (i32.const 65536)) (i64.const 32)))))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32)))"#;

const KIB: usize = 1024;
const BUDGET: u64 = 1024 * 1024;

async fn serve() -> Served {
    let config = "[server]\nbody_memory_budget = '1MiB'\n[admin]\naddress = '127.0.0.1:0'\n\
                  [guests.reads]\npath = 'reads.wat'\n[[routes]]\nguests = ['reads']\nbackend = 'hello'\n";
    Served::start_with_file("reads.wat", READS, config).await
}

/// An upload whose client has sent `sent` of `length` bytes, and then sends nothing.
async fn stalled(served: &Served, length: Option<usize>, sent: usize) -> TcpStream {
    let mut client = TcpStream::connect(served.address).await.expect("it accepts");
    let framing = match length {
        Some(length) => format!("Content-Length: {length}\r\n\r\n"),
        None => format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", 10 * sent),
    };
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}");
    client.write_all(head.as_bytes()).await.expect("it reads heads");
    // The upload may be refused before all of this has been read.
    let _refused = client.write_all(&vec![b'x'; sent]).await;
    client
}

/// The head of the response, if it has arrived.
fn answered(client: &TcpStream) -> Option<String> {
    let mut head = [0; 512];
    let read = client.try_read(&mut head).ok()?;
    Some(String::from_utf8_lossy(&head[..read]).into_owned())
}

/// Uploads this many bytes, retrying until there is room.
async fn upload(served: &Served, length: usize) {
    eventually(async || {
        let mut client = stalled(served, Some(length), length).await;
        let mut head = [0; 12];
        let answered = soon(client.read_exact(&mut head)).await;
        (answered.is_ok() && &head == b"HTTP/1.1 200").then_some(())
    })
    .await;
}

fn used(status: &Value) -> u64 {
    status["bodies_memory"]["used_bytes"].as_u64().expect("it is told")
}

#[tokio::test(flavor = "multi_thread")]
async fn many_stalled_uploads_stay_within_the_budget_and_others_are_served() {
    let served = serve().await;
    for length in [Some(300 * KIB), None] {
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(stalled(&served, length, 200 * KIB).await);
        }
        let refused = eventually(async || {
            let heads: Vec<_> = clients.iter().filter_map(answered).filter(|head| !head.is_empty()).collect();
            for head in &heads {
                let head = head.to_ascii_lowercase();
                assert!(head.starts_with("http/1.1 503 ") && head.contains("retry-after: 1"), "{head}");
            }
            (!heads.is_empty()).then_some(heads.len())
        })
        .await;
        assert!(refused > 0);
        let status = served.status_with(|status| status["bodies_memory"]["refused"].as_u64() > Some(0)).await;
        assert!(used(&status) <= BUDGET * 5 / 4 + 400 * KIB as u64, "{status:#}");
        assert_eq!(status["bodies_memory"]["budget_bytes"], BUDGET);
        assert_eq!(served.get("/").await.status(), 200);
        // There is still room for small bodies.
        let small = served.send(Request::post("/"), &"x".repeat(10 * KIB)).await;
        assert_eq!(small.status(), 200);
        // Stalled uploads are evicted for one that makes progress.
        upload(&served, 500 * KIB).await;
        drop(clients);
        served.status_with(|status| used(status) == 0 && status["requests_in_flight"] == 0).await;
    }
    let metrics = served.ask(Method::GET, "/metrics").await.into_body();
    assert!(metrics.contains("http_wasm_bodies_memory_bytes 0\n"), "{metrics}");
    assert!(metrics.contains("http_wasm_bodies_memory_budget_bytes 1048576\n"), "{metrics}");
    for reason in ["full", "evicted"] {
        let none = format!("http_wasm_bodies_memory_refusals_total{{reason=\"{reason}\"}} 0\n");
        assert!(!metrics.contains(&none), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_upload_gets_503_even_if_it_sends_nothing_more() {
    let served = serve().await;
    let mut oldest = stalled(&served, Some(800 * KIB), 100 * KIB).await;
    served.status_with(|status| used(status) > 0).await;
    upload(&served, 500 * KIB).await;
    let mut head = [0; 12];
    soon(oldest.read_exact(&mut head)).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 503");
    served.status_with(|status| used(status) == 0).await;
}
