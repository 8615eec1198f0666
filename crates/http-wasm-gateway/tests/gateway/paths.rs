//! Paths: none bypasses the guests of a route, and which form is forwarded.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::net::TcpStream;

use crate::files::Files;
use crate::support::{Server, eventually};

#[path = "../common/spellings.rs"]
mod spellings;

use self::spellings::Spellings;

/// Answers 403.
const DENIES: &str = r#"(module
  (import "http_handler" "set_status_code" (func $status (param i32)))
  (memory (export "memory") 1)
  (func (export "handle_request") (result i64) (call $status (i32.const 403)) (i64.const 0))
  (func (export "handle_response") (param i32 i32)))"#;

async fn start(routes: &str) -> Server {
    let files = Files::new();
    files.write("denies.wat", DENIES);
    let config = format!("[[listen]]\naddress = '127.0.0.1:0'\n[guests.auth]\npath = 'denies.wat'\n{routes}");
    Server::start_with(files, &config).await
}

async fn get(server: &Server, path: &str) -> String {
    server.exchange(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_leads_elsewhere_when_decoded_gets_400() {
    let server = start(
        "[[routes]]\npath_prefix = '/public'\nbackend = 'echo'\n\
         [[routes]]\npath_prefix = '/admin'\nguests = ['auth']\nbackend = 'echo'\n",
    )
    .await;
    for path in [
        "/public/..%2fadmin",
        "/public/..;/admin",
        "/public/..\\admin",
        "/../public",
        "/public/%252e%252e/admin",
    ] {
        let answer = get(&server, path).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("bad request\n"), "{path}: {answer}");
    }
    let answer = get(&server, "/public/a%2fb").await;
    assert!(answer.contains(r#""uri":"/public/a%2fb""#), "{answer}");
    let answer = get(&server, "/public/%2e%2e/admin").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_decodes_slashes_forwards_the_decoded_path() {
    let server =
        start("[[routes]]\npath_prefix = '/a'\nescaped_slashes = 'decode'\nbackend = 'echo'\n").await;
    let answer = get(&server, "/a/x%2f..%2Fb%20c?d%2fe").await;
    assert!(answer.contains(r#""uri":"/a/b%20c?d%2fe""#), "{answer}");
    let answer = get(&server, "/a/..%2f..%2fb").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

/// An nginx that reports which of its locations a request matches. Stopped on drop.
struct Nginx {
    child: Child,
    /// The ports on which it does and doesn't merge slashes.
    ports: [u16; 2],
    _files: Files,
}

impl Nginx {
    /// Returns `None` if nginx isn't installed.
    async fn start() -> Option<Self> {
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
        let program = program.iter().map(Path::new).find(|program| program.exists())?;
        let files = Files::new();
        let ports = [(); 2].map(|()| {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
            free.expect("a free port").port()
        });
        let config = files.write("nginx.conf", "");
        let dir = config.parent().expect("a directory").display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {dir}/{what}; "))
            .concat();
        let server = |port: u16, merge: &str| {
            format!(
                "server {{ listen 127.0.0.1:{port}; merge_slashes {merge}; \
                 location ~ '^/admin(/|$)' {{ return 200 'GUARDED'; }} \
                 location ~ '^/api(/?$|/[^/]+/)' {{ return 200 'GUARDED'; }} \
                 location / {{ return 200 'OPEN'; }} }} "
            )
        };
        let text = format!(
            "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log; events {{}} \
             http {{ access_log off; {temporary} {} {} }}",
            server(ports[0], "on"),
            server(ports[1], "off")
        );
        files.write("nginx.conf", &text);
        let child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx can be started");
        let nginx = Self { child, ports, _files: files };
        for port in ports {
            eventually(async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        }
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures of a long run")]
async fn no_spelling_bypasses_a_guest_in_front_of_nginx() {
    let Some(nginx) = Nginx::start().await else {
        // Written directly to stderr, which isn't captured, so that it is seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no nginx to try spellings of paths with");
        return;
    };
    let mut servers = Vec::new();
    for port in nginx.ports {
        let routes = "[[routes]]\npath_prefix = '/public'\nupstream = 'nginx'\n\
             [[routes]]\npath_prefix = '/admin'\nguests = ['auth']\nupstream = 'nginx'\n\
             [[routes]]\npath_pattern = '/api/{name}'\nupstream = 'nginx'\n\
             [[routes]]\npath_prefix = '/api'\nguests = ['auth']\nupstream = 'nginx'\n\
             [[routes]]\nupstream = 'nginx'\n";
        let upstream = format!("[upstreams.nginx]\naddresses = ['http://127.0.0.1:{port}']\n");
        servers.push(start(&format!("{upstream}{routes}")).await);
    }
    let (mut goes_on, seed) = spellings::effort(400);
    let mut by = Spellings(fastrand::Rng::with_seed(seed));
    let (mut cases, mut served) = (0_u32, 0_u32);
    while goes_on() {
        let path = by.path();
        let server = &servers[cases as usize % servers.len()];
        let answer = get(server, &path).await;
        cases += 1;
        served += u32::from(answer.starts_with("HTTP/1.1 200 "));
        assert!(!answer.ends_with("GUARDED"), "seed {seed}, case {cases}: {path}: {answer}");
    }
    println!("{cases} cases with the seed {seed}: {served} were served");
    assert!(served * 10 > cases, "{served} of {cases} prove little");
}
