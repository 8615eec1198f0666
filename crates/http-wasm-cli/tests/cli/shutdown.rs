//! SIGINT and SIGTERM.
#![cfg(unix)]

use std::net::TcpStream;
use std::time::Instant;

use http::Request;
use http_body_util::{BodyExt as _, Empty};

use crate::support::{Raw, Server, TIMEOUT, Upstream, exchange, http_wasm, http2, soon};

#[tokio::test]
async fn a_running_request_finishes_while_new_connections_are_refused() {
    for signal in ["TERM", "INT"] {
        let upstream = Upstream::bind().await;
        let mut proxy = Server::proxy_to(upstream.addr(), &[]);
        let mut client = Raw::connect(proxy.addr).await;
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut server = upstream.accept().await;
        server.read_until("\r\n\r\n").await;

        proxy.signal(signal);
        let start = Instant::now();
        while TcpStream::connect(proxy.addr).is_ok() {
            assert!(start.elapsed() < TIMEOUT, "new connections are still accepted");
        }
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\ndone"), "{answer}");
        assert_eq!(proxy.wait().await.code(), Some(0));
        assert_eq!(proxy.rest_of_stdout(), "");
    }
}

#[tokio::test]
async fn a_draining_server_is_alive_and_not_ready() {
    let upstream = Upstream::bind().await;
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "listen = ['127.0.0.1:0']\n[admin]\naddress = '127.0.0.1:0'\n\
         [upstreams.app]\naddresses = ['http://{}']\n[[routes]]\nupstream = 'app'\n",
        upstream.addr()
    );
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, config).unwrap();
    let mut proxy = Server::of(http_wasm().args(["serve", "--config"]).arg(file));
    let line = proxy.ready_line();
    let admin = line.strip_prefix("status and metrics at http://").expect("the operators' address");
    let admin = admin.parse().expect("an address");
    let probe = async |path| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        exchange(admin, request).await
    };
    assert!(probe("/readyz").await.ends_with("\r\n\r\nready\n"));

    let mut client = Raw::connect(proxy.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;
    proxy.signal("TERM");
    let start = Instant::now();
    while !probe("/readyz").await.starts_with("HTTP/1.1 503 ") {
        assert!(start.elapsed() < TIMEOUT, "still ready");
    }
    assert!(probe("/readyz").await.ends_with("\r\n\r\ndraining\n"));
    assert!(probe("/livez").await.starts_with("HTTP/1.1 200 "));
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
    assert!(client.read_to_end().await.ends_with("done"));
    assert_eq!(proxy.wait().await.code(), Some(0));
}

#[tokio::test]
async fn requests_are_accepted_during_the_drain_delay_and_a_second_signal_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = "listen = ['127.0.0.1:0']\n[server]\ndrain_delay = '1h'\n[admin]\naddress = '127.0.0.1:0'\n\
                  [[routes]]\nbackend = 'hello'\n";
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, config).unwrap();
    let mut server = Server::of(http_wasm().args(["serve", "--config"]).arg(file));
    let line = server.ready_line();
    let admin = line.strip_prefix("status and metrics at http://").expect("the operators' address");
    let admin = admin.parse().expect("an address");
    let ask = async |addr, path| {
        exchange(addr, format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await
    };
    server.signal("TERM");
    let start = Instant::now();
    while !ask(admin, "/readyz").await.starts_with("HTTP/1.1 503 ") {
        assert!(start.elapsed() < TIMEOUT, "still ready");
    }
    assert!(ask(server.addr, "/").await.starts_with("HTTP/1.1 200 "));
    server.signal("INT");
    assert_eq!(server.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_running_http_2_request_finishes_during_shutdown() {
    let upstream = Upstream::bind().await;
    let mut proxy = Server::proxy_to(upstream.addr(), &[]);
    let request = Request::get(format!("http://{}/", proxy.addr)).body(Empty::new().boxed_unsync()).unwrap();
    let mut client = http2(proxy.addr).await;
    let asked = tokio::spawn(client.send_request(request));
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;
    proxy.signal("TERM");
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
    let response = soon(asked).await.unwrap().unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
    assert_eq!(proxy.wait().await.code(), Some(0));
}

#[tokio::test]
async fn idle_connections_do_not_delay_shutdown() {
    let mut server = Server::start(&[]);
    let _silent = Raw::connect(server.addr).await;
    let mut idle = Raw::connect(server.addr).await;
    idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    idle.read_until("trailers").await;
    let _idle = http2(server.addr).await;
    let start = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().await.code(), Some(0));
    assert!(start.elapsed() < TIMEOUT / 2);
}

#[tokio::test]
async fn a_request_that_never_ends_is_aborted_at_the_shutdown_timeout() {
    let upstream = Upstream::bind().await;
    let mut proxy = Server::proxy_to(upstream.addr(), &["--shutdown-timeout", "1s"]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let _server = upstream.accept().await;
    proxy.signal("TERM");
    assert_eq!(proxy.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let upstream = Upstream::bind().await;
    let mut proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let _server = upstream.accept().await;
    proxy.signal("TERM");
    while TcpStream::connect(proxy.addr).is_ok() {}
    proxy.signal("INT");
    assert_eq!(proxy.wait().await.code(), Some(0));
}

#[tokio::test]
async fn requests_aborted_by_shutdown_are_in_the_access_log() {
    let upstream = Upstream::bind().await;
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "listen = ['127.0.0.1:0']\n[server]\ndrain_timeout = '500ms'\n[access_log]\nfile = 'access.log'\n\
         [upstreams.app]\naddresses = ['http://{}']\n[[routes]]\nupstream = 'app'\n",
        upstream.addr()
    );
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, config).unwrap();
    let mut proxy = Server::of(http_wasm().args(["serve", "--config"]).arg(file));
    let mut client = Raw::connect(proxy.addr).await;
    client.send("GET /waits HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut waits = upstream.accept().await;
    waits.read_until("\r\n\r\n").await;
    let mut other = Raw::connect(proxy.addr).await;
    other.send("GET /half HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut half = upstream.accept().await;
    half.read_until("\r\n\r\n").await;
    half.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    other.read_until("half").await;
    proxy.signal("TERM");
    assert_eq!(proxy.wait().await.code(), Some(0));
    let log = std::fs::read_to_string(directory.path().join("access.log")).unwrap();
    assert_eq!(
        (log.lines().count(), log.matches("/waits").count(), log.matches("/half").count()),
        (2, 1, 1),
        "{log}"
    );
}
