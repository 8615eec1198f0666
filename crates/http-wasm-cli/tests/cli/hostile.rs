//! Malicious guests, each on its own path of one running server. Whatever they do, the server survives, other requests
//! are answered, and clients don't see details.

#![expect(clippy::print_stdout, reason = "figures, for longer runs")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::support::{Server, TIMEOUT, exchange};

/// How often each attack is made.
const ROUNDS: usize = 1;

/// Set for a longer run, which compares the server's memory after the second round with that after the last.
const ROUNDS_VARIABLE: &str = "HTTP_WASM_HOSTILE_ROUNDS";

/// In KiB. If the system's allocator has an arena for each thread, some arenas keep a freed buffer as large as a body.
const KEPT_BY_ALLOCATOR: u64 = 32 * 1024;

/// The number of rounds, if it is set for a longer run.
fn asked_for() -> Option<usize> {
    std::env::var(ROUNDS_VARIABLE).ok().map(|rounds| rounds.parse().expect("a number"))
}

/// What a guest does before it lets the request proceed, and the resulting status.
const ATTACKS: [(&str, &str, u16); 9] = [
    ("/loop", "(loop $ever (br $ever))", 500),
    (
        "/memory",
        "(loop $more
        (local.set $page (memory.grow (i32.const 16)))
        (if (i32.eq (local.get $page) (i32.const -1)) (then (return (i64.const 1))))
        (memory.fill (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1) (i32.const 65536))
        (br $more))",
        200,
    ),
    ("/recursion", "(call $deeper)", 500),
    (
        "/body",
        "(loop $more
        (call $write_body (i32.const 1) (i32.const 0) (i32.const 1048576))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 1024))))",
        500,
    ),
    (
        "/headers",
        "(loop $more
        (call $add_header_value (i32.const 1) (i32.const 32) (i32.const 8) (i32.const 0) (i32.const 0))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const 1000000))))",
        500,
    ),
    ("/log", "(loop $more (call $log (i32.const 2) (i32.const 0) (i32.const 1048576)) (br $more))", 500),
    ("/before", "unreachable", 500),
    ("/after", "(global.set $traps_after (i32.const 1))", 500),
    (
        "/stdout",
        "(loop $more
        (drop (call $fd_write (i32.const 1) (i32.const 48) (i32.const 1) (i32.const 56))) (br $more))",
        500,
    ),
];

/// A guest that runs the attack on this path, and does nothing on others.
fn guest(path: &str, attack: &str) -> NamedTempFile {
    let len = path.len();
    let text = format!(
        r#"(module
          (import "http_handler" "get_uri" (func $get_uri (param i32 i32) (result i32)))
          (import "http_handler" "log" (func $log (param i32 i32 i32)))
          (import "http_handler" "write_body" (func $write_body (param i32 i32 i32)))
          (import "http_handler" "add_header_value" (func $add_header_value (param i32 i32 i32 i32 i32)))
          (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 17)
          (data (i32.const 16) "{path}") (data (i32.const 32) "x-attack")
          (data (i32.const 48) "\00\00\00\00\00\00\10\00")
          (global $traps_after (mut i32) (i32.const 0))
          (func $deeper (call $deeper))
          (func $is_meant (result i32) (local $i i32)
            (if (i32.ne (call $get_uri (i32.const 64) (i32.const 64)) (i32.const {len}))
              (then (return (i32.const 0))))
            (loop $more
              (if (i32.ne (i32.load8_u offset=16 (local.get $i)) (i32.load8_u offset=64 (local.get $i)))
                (then (return (i32.const 0))))
              (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br_if $more (i32.lt_u (local.get $i) (i32.const {len}))))
            (i32.const 1))
          (func (export "handle_request") (result i64) (local $i i32) (local $page i32)
            (if (call $is_meant) (then {attack}))
            (i64.const 1))
          (func (export "handle_response") (param i32 i32)
            (if (global.get $traps_after) (then unreachable))))"#
    );
    let file = tempfile::Builder::new().suffix(".wat").tempfile().expect("a temporary file");
    std::fs::write(&file, text).expect("it can be written");
    file
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
}

/// Whether the response has only the status and the server's usual headers.
fn leaks_nothing(answer: &str) -> bool {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, "no end"));
    let known = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        ["content-length", "connection", "date"].contains(&name)
    };
    head.split("\r\n").skip(1).all(known) && body.is_empty()
}

/// Sends harmless requests until `attack` is over, and one after it. Returns the longest time that one took.
async fn beside<T>(addr: SocketAddr, attack: impl Future<Output = T>) -> (T, Duration) {
    let mut attack = std::pin::pin!(attack);
    let mut worst = Duration::ZERO;
    let mut over = None;
    loop {
        let last = over.is_some();
        let innocent = async {
            let start = Instant::now();
            let answer = exchange(addr, get("/")).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            start.elapsed()
        };
        let mut innocent = std::pin::pin!(innocent);
        let took = loop {
            tokio::select! {
                took = &mut innocent => break took,
                result = &mut attack, if over.is_none() => over = Some(result),
            }
        };
        worst = worst.max(took);
        match over {
            Some(result) if last => return (result, worst),
            unfinished => over = unfinished,
        }
    }
}

#[tokio::test]
async fn no_attack_harms_the_server_or_other_requests_or_leaks_details_to_its_client() {
    let rounds = asked_for().unwrap_or(ROUNDS);
    let files: Vec<_> = ATTACKS.iter().map(|(path, attack, _)| guest(path, attack)).collect();
    let mut args = vec!["--upstream", "hello"];
    for file in &files {
        args.extend(["--guest", file.path().to_str().expect("a path of ours is text")]);
    }
    let server = Server::start(&args);
    for (path, _, status) in ATTACKS {
        let mut resident = Vec::new();
        let mut worst = Duration::ZERO;
        for _ in 0..rounds {
            let (answer, took) = beside(server.addr, exchange(server.addr, get(path))).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
            assert!(status == 200 || leaks_nothing(&answer), "{path}: {answer}");
            resident.push(server.resident());
            worst = worst.max(took);
        }
        println!("{path}: KiB resident {resident:?}, a harmless request took up to {worst:?}");
        assert!(worst < TIMEOUT / 2, "{path}: a harmless request took {worst:?}");
        if let [_, Some(second), .., Some(last)] = resident[..] {
            assert!(
                last <= second + second / 10 + KEPT_BY_ALLOCATOR,
                "{path}: {second} KiB grew to {last} KiB"
            );
        }
    }
}

#[tokio::test]
async fn a_guest_with_very_many_functions_is_served() {
    // An unoptimised compiler would take ten seconds for ten times as many.
    let count = if asked_for().is_some() { 100_000 } else { 10_000 };
    let last = count - 1;
    let functions: String = (0..count).map(|n| format!("(func (result i32) (i32.const {n}))")).collect();
    let text = format!(
        r#"(module (memory (export "memory") 1) {functions}
          (func (export "handle_request") (result i64) (drop (call {last})) (i64.const 1))
          (func (export "handle_response") (param i32 i32)))"#
    );
    let file = tempfile::Builder::new().suffix(".wat").tempfile().expect("a temporary file");
    std::fs::write(&file, text).expect("it can be written");
    let start = Instant::now();
    let path = file.path().to_str().expect("a path of ours is text");
    let server = Server::start(&["--upstream", "hello", "--guest", path]);
    println!("served after {:?}, {:?} KiB resident", start.elapsed(), server.resident());
    let answer = exchange(server.addr, get("/")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
