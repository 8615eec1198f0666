//! Listening sockets that are inherited: from systemd, or by a successor.
#![cfg(unix)]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{Raw, Server, eventually, http_wasm, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn an_inherited_socket_is_used_with_the_connections_pending_in_it() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let mut early = Raw::connect(addr).await;
    early.send(GET).await;

    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let mut command = http_wasm();
    command.args(["serve", "--upstream", "hello", "--listen", &addr.to_string()]);
    command.env("LISTEN_FDS", "1").env("LISTEN_FDS_FIRST_FD", socket.as_raw_fd().to_string());
    let server = Server::of(&mut command);
    drop(socket);
    assert_eq!(server.addr, addr);
    assert!(early.read_to_end().await.ends_with("hello world"));
}

/// Sends requests until told to stop, each on a new connection.
async fn ask(addr: SocketAddr, stop: Arc<AtomicBool>, answers: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let mut raw = Raw::connect(addr).await;
        raw.send(GET).await;
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello world"), "{answer:?}");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends requests until told to stop, on the same connection until the server announces that it closes it.
async fn ask_again(addr: SocketAddr, stop: Arc<AtomicBool>, answers: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let mut raw = Raw::connect(addr).await;
        loop {
            raw.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
            let answer = raw.read_until("hello world").await;
            answers.fetch_add(1, Ordering::Relaxed);
            if answer.contains("connection: close") || stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_successors_take_over() {
    let mut server = Server::start(&["--upstream", "hello"]);
    let stop = Arc::new(AtomicBool::new(false));
    let answers = Arc::new(AtomicUsize::new(0));
    let mut clients: Vec<_> =
        (0..4).map(|_| tokio::spawn(ask(server.addr, stop.clone(), answers.clone()))).collect();
    clients.extend((0..4).map(|_| tokio::spawn(ask_again(server.addr, stop.clone(), answers.clone()))));
    let more = async |count: usize| {
        let enough = answers.load(Ordering::Relaxed) + count;
        while answers.load(Ordering::Relaxed) < enough {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };

    soon(more(100)).await;
    server.signal("USR2");
    assert_eq!(server.ready_line(), format!("listening on http://{}", server.addr));
    assert_eq!(server.wait().await.code(), Some(0));
    soon(more(200)).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        soon(client).await.expect("no request fails");
    }
}

#[tokio::test]
async fn a_server_keeps_serving_when_its_successor_fails_to_start() {
    let directory = tempfile::tempdir().unwrap();
    let guest = directory.path().join("guest.wat");
    let passes = r#"(module (memory (export "memory") 1)
      (func (export "handle_request") (result i64) i64.const 1) (func (export "handle_response") (param i32 i32)))"#;
    std::fs::write(&guest, passes).unwrap();
    let mut server = Server::start(&["--upstream", "hello", "--guest", guest.to_str().unwrap()]);
    std::fs::write(&guest, "broken").unwrap();
    server.signal("USR2");
    let mut raw = Raw::connect(server.addr).await;
    raw.send(GET).await;
    assert!(raw.read_to_end().await.ends_with("hello world"));

    std::fs::write(&guest, passes).unwrap();
    server.signal("USR2");
    assert_eq!(server.ready_line(), format!("listening on http://{}", server.addr));
    assert_eq!(server.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_successor_that_never_becomes_ready_is_replaced_at_the_next_signal() {
    let directory = tempfile::tempdir().unwrap();
    let guest = directory.path().join("guest.wat");
    let passes = r#"(module (memory (export "memory") 1)
      (func (export "handle_request") (result i64) i64.const 1) (func (export "handle_response") (param i32 i32)))"#;
    std::fs::write(&guest, passes).unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut server = Server::with_log(&["--upstream", "hello", "--guest", guest.to_str().unwrap()], &log);
    // Opening it blocks until there is a writer, and there never is one.
    std::fs::remove_file(&guest).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&guest).status().unwrap().success());
    server.signal("USR2");
    eventually(async || {
        let log = std::fs::read_to_string(log.path()).unwrap();
        log.contains("starting a successor").then_some(())
    })
    .await;

    std::fs::remove_file(&guest).unwrap();
    std::fs::write(&guest, passes).unwrap();
    server.signal("USR2");
    assert_eq!(server.ready_line(), format!("listening on http://{}", server.addr));
    assert_eq!(server.wait().await.code(), Some(0));
}
