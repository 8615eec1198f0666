//! The binary as a child process, and clients and upstreams that work on raw bytes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A timeout for everything in these tests: longer waits are failures.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Adds its configuration as a request header `x-config`.
pub(crate) const ADDS_CONFIG: &str = r#"(module
  (import "http_handler" "get_config" (func $get_config (param i32 i32) (result i32)))
  (import "http_handler" "add_header_value" (func $add (param i32 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-config")
  (func (export "handle_request") (result i64)
    (call $add (i32.const 0) (i32.const 0) (i32.const 8)
      (i32.const 64) (call $get_config (i32.const 64) (i32.const 1024)))
    i64.const 1)
  (func (export "handle_response") (param i32 i32)))"#;

/// A command that runs the binary, without arguments.
pub(crate) fn http_wasm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_http-wasm"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// A guest file, which is deleted on drop.
pub(crate) fn guest(wat: &str) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".wat").tempfile().expect("a temporary file");
    file.write_all(wat.as_bytes()).expect("the file takes it");
    file
}

pub(crate) fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("a path of ours is text")
}

/// Runs the binary to completion.
pub(crate) fn run(args: &[&str]) -> Output {
    http_wasm().args(args).output().expect("the binary runs")
}

/// `http-wasm serve` on a free port; killed when dropped.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) addr: SocketAddr,
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::of(http_wasm().args(["serve", "--listen", "127.0.0.1:0"]).args(args))
    }

    /// The same, with the log in a file.
    pub(crate) fn with_log(args: &[&str], log: &NamedTempFile) -> Self {
        let log = log.reopen().expect("the file is there");
        Self::spawn(http_wasm().args(["serve", "--listen", "127.0.0.1:0"]).args(args).stderr(log))
    }

    /// Starts a command that prints its address.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::spawn(command.stderr(Stdio::null()))
    }

    /// The same, with the stderr that the command is configured with.
    pub(crate) fn logged(command: &mut Command) -> Self {
        Self::spawn(command)
    }

    fn spawn(command: &mut Command) -> Self {
        // It is in a process group with its successors, so that none outlives the test.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("stdout is readable");
        let addr = line
            .strip_prefix("listening on http://")
            .and_then(|rest| rest.strip_suffix('\n')?.parse().ok())
            .unwrap_or_else(|| panic!("no ready line but {line:?}"));
        Self { child, stdout, addr }
    }

    /// The next line on stdout.
    pub(crate) fn ready_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("stdout is readable");
        line.trim_end().to_owned()
    }

    /// A proxy to this upstream.
    pub(crate) fn proxy_to(upstream: SocketAddr, args: &[&str]) -> Self {
        let url = format!("http://{upstream}");
        Self::start(&[&["--upstream", url.as_str()], args].concat())
    }

    /// Its resident memory in KiB, if the system reports it.
    pub(crate) fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
    }

    /// Waits for the process to exit by itself.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return status;
            }
            assert!(start.elapsed() < TIMEOUT, "the server does not stop");
            // Asynchronously, because an HTTP/2 client in this thread must see the server's GOAWAY.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The output on stdout after the ready line, once the process has exited.
    pub(crate) fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("stdout is text");
        rest
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // These fail if it has already exited.
        #[cfg(unix)]
        let _ = Command::new("sh").args(["-c", &format!("kill -9 -{} 2>&-", self.child.id())]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fails the test if this takes longer than the timeout.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, what).await.expect("this takes too long")
}

/// Repeats `ask` until there is a result.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    soon(async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// A connection on which tests send and receive raw bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.expect("the server accepts"))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("the peer reads");
    }

    /// Reads until this text has arrived, and returns everything that was read.
    pub(crate) async fn read_until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        while !all.windows(text.len()).any(|window| window == text.as_bytes()) {
            let read = soon(self.0.read_buf(&mut all)).await.expect("the peer sends");
            assert!(read > 0, "closed before {text:?}: {:?}", String::from_utf8_lossy(&all));
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        soon(self.0.read_to_end(&mut all)).await.expect("the peer sends and closes");
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// Sends these bytes, which must make the server close the connection, and returns everything that it sent.
pub(crate) async fn exchange(addr: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut raw = Raw::connect(addr).await;
    raw.send(request).await;
    raw.read_to_end().await
}

/// The JSON in a response of the echo backend over HTTP/1.1.
pub(crate) fn echoed(answer: &str) -> Value {
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let body = &answer[answer.find('{').expect("a JSON body")..=answer.rfind('}').expect("a JSON body")];
    serde_json::from_str(body).expect("the body is JSON")
}

/// The values of a header that the echo backend received.
pub(crate) fn values<'a>(echo: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = echo["headers"].as_array().expect("headers are a list");
    headers.iter().filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().expect("a text")).collect()
}

/// An upstream that the test controls.
pub(crate) struct Upstream(TcpListener);

impl Upstream {
    pub(crate) async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound listener has an address")
    }

    pub(crate) async fn accept(&self) -> Raw {
        Raw(soon(self.0.accept()).await.expect("the proxy connects").0)
    }
}

pub(crate) async fn http1(addr: SocketAddr) -> http1::SendRequest<Body> {
    let (sender, connection) =
        http1::handshake(TokioIo::new(Raw::connect(addr).await.0)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    sender
}

pub(crate) async fn http2(addr: SocketAddr) -> http2::SendRequest<Body> {
    let io = TokioIo::new(Raw::connect(addr).await.0);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}
