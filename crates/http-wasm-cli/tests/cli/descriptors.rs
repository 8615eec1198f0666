//! Running out of file descriptors.
#![cfg(unix)]

use std::process::Command;

use crate::support::{Raw, Server, Upstream, eventually, exchange, http_wasm, soon};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// A gateway with this route that may open this many files, and the address of its admin listener.
fn limited(files: u32, route: &str, directory: &tempfile::TempDir) -> (Server, std::net::SocketAddr) {
    let config = format!("listen = ['127.0.0.1:0']\n[admin]\naddress = '127.0.0.1:0'\n{route}");
    let file = directory.path().join("gateway.toml");
    std::fs::write(&file, config).unwrap();
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    let binary = http_wasm().get_program().to_owned();
    let mut command = Command::new("sh");
    command.env_remove("RUST_LOG").stderr(log);
    command
        .args(["-c", &format!("ulimit -n {files}; exec \"$0\" serve --config \"$1\"")])
        .arg(binary)
        .arg(file);
    let mut server = Server::logged(&mut command);
    let admin = server.ready_line();
    let admin = admin.strip_prefix("status and metrics at http://").unwrap().parse().unwrap();
    (server, admin)
}

#[tokio::test]
async fn requests_without_a_descriptor_get_503_and_the_upstream_stays_healthy() {
    // It accepts connections, but doesn't respond.
    let upstream = Upstream::bind().await;
    let directory = tempfile::tempdir().unwrap();
    let route = "[[routes]]\nupstream = 'app'\n[upstreams.app]\nretries = 0\n";
    let route = format!("{route}addresses = ['http://{}']\n", upstream.addr());
    // Clients get descriptors below 57, and upstreams below 75.
    let (server, admin) = limited(100, &route, &directory);
    let mut clients = Vec::new();
    for _ in 0..35 {
        clients.push(Raw::connect(server.addr).await);
    }
    let mut answers = tokio::task::JoinSet::new();
    for mut client in clients {
        client.send(GET).await;
        answers.spawn(async move { client.read_to_end().await });
    }
    let first = soon(answers.join_next()).await.unwrap().unwrap().to_ascii_lowercase();
    assert!(first.starts_with("http/1.1 503 ") && first.contains("\r\nretry-after: 1\r\n"), "{first}");
    let status = "GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let status = exchange(admin, status).await;
    let status: serde_json::Value = serde_json::from_str(&status[status.find('{').expect("JSON")..]).unwrap();
    let address = &status["upstreams"][0]["addresses"][0];
    assert_eq!((&address["health"], &address["failures"]), (&"healthy".into(), &0.into()), "{address}");
}

#[tokio::test]
async fn clients_beyond_the_descriptor_limit_get_503_while_the_admin_listener_answers() {
    let directory = tempfile::tempdir().unwrap();
    let (server, admin) = limited(200, "[[routes]]\nbackend = 'hello'\n", &directory);
    let log = || std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(!log().contains("WARN"), "nobody has asked for more connections than fit: {}", log());
    assert!(exchange(server.addr, GET).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let mut idle = Vec::new();
    for _ in 0..180 {
        idle.push(Raw::connect(server.addr).await);
    }
    // Once the last ones are refused, all of them have been accepted.
    let refused = eventually(async || {
        let answer = exchange(server.addr, GET).await;
        answer.starts_with("HTTP/1.1 503 ").then_some(answer)
    });
    let refused = refused.await.to_ascii_lowercase();
    assert!(
        refused.contains("\r\nretry-after: 1\r\n") && refused.contains("\r\nconnection: close\r\n"),
        "{refused}"
    );
    let probe = "GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert!(exchange(admin, probe).await.ends_with("alive\n"));
    let metrics = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    assert!(exchange(admin, metrics).await.contains("process_max_fds 200"));
    drop(idle);
    eventually(async || exchange(server.addr, GET).await.starts_with("HTTP/1.1 200 OK\r\n").then_some(()))
        .await;
    assert_eq!(log().matches("too few file descriptors").count(), 1, "{}", log());
}
