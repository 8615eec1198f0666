//! `Upgrade` through the proxy.

use std::net::SocketAddr;

use crate::support::{Raw, Server, TIMEOUT, Upstream, eventually, exchange, http_wasm};

const UPGRADE_REQUEST: &str =
    "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING_PROTOCOLS: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Kept: 1\r\n\r\n";

#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways_until_one_side_ends_it() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send(UPGRADE_REQUEST).await;
    let mut server = upstream.accept().await;
    let request = server.read_until("\r\n\r\n").await;
    assert!(
        request.contains("connection: upgrade\r\n") && request.contains("upgrade: websocket\r\n"),
        "{request}"
    );
    // Bytes immediately after the head already belong to the new protocol.
    server.send(format!("{SWITCHING_PROTOCOLS}first")).await;
    let consent = client.read_until("first").await.to_ascii_lowercase();
    assert!(consent.starts_with("http/1.1 101 "), "{consent}");
    for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "x-kept: 1\r\n"] {
        assert!(consent.contains(field), "{consent}");
    }
    client.send(b"\x81\x05ping!").await;
    server.read_until("ping!").await;
    server.send(b"\x81\x05pong!").await;
    client.read_until("pong!").await;
    drop(server);
    assert_eq!(client.read_to_end().await, "");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_response() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send(UPGRADE_REQUEST).await;
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;
    server.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let answer = client.read_until("\r\n\r\nno").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn an_h2c_upgrade_request_is_not_forwarded() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
            HTTP2-Settings: AAMA\r\n\r\n",
        )
        .await;
    let mut server = upstream.accept().await;
    let head = server.read_until("\r\n\r\n").await;
    assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
}

#[tokio::test]
async fn an_unsolicited_upgrade_response_is_a_502() {
    let upstream = Upstream::bind().await;
    let proxy = Server::proxy_to(upstream.addr(), &[]);
    let mut client = Raw::connect(proxy.addr).await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut server = upstream.accept().await;
    server.read_until("\r\n\r\n").await;
    server.send(SWITCHING_PROTOCOLS).await;
    let answer = client.read_until("bad gateway\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

/// Sends an upgrade request, which the upstream accepts.
async fn tunnel(server: SocketAddr, upstream: &Upstream) -> (Raw, Raw) {
    let mut client = Raw::connect(server).await;
    client.send(UPGRADE_REQUEST).await;
    let mut far = upstream.accept().await;
    far.read_until("\r\n\r\n").await;
    far.send(SWITCHING_PROTOCOLS).await;
    client.read_until("\r\n\r\n").await;
    (client, far)
}

/// Waits until new connections are refused, which shows that a drain has begun.
#[cfg(unix)]
async fn drains(server: SocketAddr) {
    let start = std::time::Instant::now();
    while std::net::TcpStream::connect(server).is_ok() {
        assert!(start.elapsed() < TIMEOUT, "new connections are still accepted");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_draining_server_keeps_a_tunnel_open_and_exits_when_it_ends() {
    let upstream = Upstream::bind().await;
    let mut proxy = Server::proxy_to(upstream.addr(), &["--shutdown-timeout", "1h"]);
    let (mut client, mut far) = tunnel(proxy.addr, &upstream).await;
    proxy.signal("TERM");
    drains(proxy.addr).await;
    // Longer than idle connections are kept.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    client.send("ping!").await;
    far.read_until("ping!").await;
    far.send("pong!").await;
    client.read_until("pong!").await;
    drop(far);
    assert_eq!(client.read_to_end().await, "");
    drop(client);
    assert_eq!(proxy.wait().await.code(), Some(0));
}

#[cfg(unix)]
#[tokio::test]
async fn a_tunnel_is_closed_at_the_drain_timeout() {
    let upstream = Upstream::bind().await;
    let mut proxy = Server::proxy_to(upstream.addr(), &["--shutdown-timeout", "1s"]);
    let (mut client, mut far) = tunnel(proxy.addr, &upstream).await;
    proxy.signal("TERM");
    assert_eq!(proxy.wait().await.code(), Some(0));
    assert_eq!((client.read_to_end().await, far.read_to_end().await), (String::new(), String::new()));
}

#[cfg(unix)]
#[tokio::test]
async fn a_tunnel_of_the_old_process_stays_open_while_a_successor_serves() {
    let upstream = Upstream::bind().await;
    let mut proxy = Server::proxy_to(upstream.addr(), &["--shutdown-timeout", "1h"]);
    let (mut client, mut far) = tunnel(proxy.addr, &upstream).await;
    proxy.signal("USR2");
    assert_eq!(proxy.ready_line(), format!("listening on http://{}", proxy.addr));
    // Longer than idle connections are kept.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let (mut next, mut next_far) = tunnel(proxy.addr, &upstream).await;
    for (client, far) in [(&mut client, &mut far), (&mut next, &mut next_far)] {
        client.send("ping!").await;
        far.read_until("ping!").await;
    }
}

#[tokio::test]
async fn idle_tunnels_are_closed_and_make_room_for_other_clients() {
    let upstream = Upstream::bind().await;
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\nlimits = {{ max_connections = 3, tunnel_idle_timeout = '2s' }}\n\
         [admin]\naddress = '127.0.0.1:0'\n[access_log]\nfile = 'access.log'\n\
         [upstreams.app]\naddresses = ['http://{}']\n[[routes]]\nupstream = 'app'\n",
        upstream.addr()
    );
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, config).unwrap();
    let mut proxy = Server::of(http_wasm().args(["serve", "--config"]).arg(file));
    let admin = proxy.ready_line();
    let admin = admin.strip_prefix("status and metrics at http://").unwrap().parse().unwrap();
    let status = async || {
        let request = "GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        let answer = exchange(admin, request).await;
        serde_json::from_str::<serde_json::Value>(&answer[answer.find('{').expect("JSON")..]).unwrap()
    };
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        tunnels.push(tunnel(proxy.addr, &upstream).await);
    }
    let now = status().await;
    let address = &now["upstreams"][0]["addresses"][0];
    assert_eq!((&now["requests_in_flight"], &address["in_flight"]), (&3.into(), &3.into()), "{now}");
    // A tunnel is counted once both connections have been upgraded.
    eventually(async || (status().await["upstreams"][0]["addresses"][0]["tunnels"] == 3).then_some(())).await;
    tunnels[0].0.send("ping!").await;
    tunnels[0].1.read_until("ping!").await;

    let (mut fourth, mut far) = tunnel(proxy.addr, &upstream).await;
    fourth.send("ping!").await;
    far.read_until("ping!").await;
    for (client, far) in &mut tunnels {
        assert_eq!((client.read_to_end().await, far.read_to_end().await), (String::new(), String::new()));
    }
    let log = directory.path().join("access.log");
    let lines = eventually(async || {
        let log = std::fs::read_to_string(&log).unwrap();
        (log.lines().count() >= 3).then_some(log)
    });
    let lines = lines.await;
    let of_first = lines.lines().find(|line| line.contains("\"request_bytes\":5")).expect(&lines);
    let of_first: serde_json::Value = serde_json::from_str(of_first).unwrap();
    assert_eq!((&of_first["status"], &of_first["outcome"]), (&101.into(), &"complete".into()));
    assert!(of_first["duration"].as_f64().unwrap() >= 2.0, "{of_first}");
}
