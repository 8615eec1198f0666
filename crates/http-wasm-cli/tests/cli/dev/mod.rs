//! `http-wasm dev`.

#[cfg(unix)]
pub(crate) mod browser;
#[cfg(unix)]
#[path = "../../../../http-wasm-gateway/tests/common/browser.rs"]
pub(crate) mod chromium;
mod exchanges;
mod page;
mod rebuild;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Server, eventually, exchange, http_wasm};

/// A guest that answers each request with this status.
fn answers(status: u16) -> String {
    format!(
        r#"(module
          (import "http_handler" "set_status_code" (func $status (param i32)))
          (memory (export "memory") 1)
          (func (export "handle_request") (result i64) (call $status (i32.const {status})) (i64.const 0))
          (func (export "handle_response") (param i32 i32)))"#
    )
}

/// Copies the guest from its source. Fails if there is a file `broken`.
const BUILD: &str = "if [ -e src/broken ]; then echo 'guest.c:1: error: <b>broken</b>'; exit 3; fi; \
     cp src/guest.wat guest.wat.new && mv guest.wat.new guest.wat";

/// A project with a source and the build command above.
struct Project(TempDir);

impl Project {
    fn new(source: &str) -> Self {
        let project = Self(tempfile::tempdir().expect("a temporary directory"));
        project.write("src/guest.wat", source);
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory of ours")).expect("it can be made");
        // Atomically, as editors do.
        let new = path.with_extension("tmp~");
        fs::write(&new, content).expect("the file takes it");
        fs::rename(new, path).expect("it can be renamed");
    }
}

/// `http-wasm dev`; killed when dropped.
struct Dev {
    server: Server,
    page: SocketAddr,
}

impl Dev {
    /// Serves a project, which is built first.
    fn of(project: &Project, args: &[&str]) -> Self {
        let guest = project.path("guest.wat");
        let guest = guest.to_str().expect("a path of ours is text");
        let directory = project.0.path().to_str().expect("a path of ours is text");
        Self::start(&[&[guest, "--build", BUILD, "--watch", directory], args].concat(), Path::new("."))
    }

    fn start(args: &[&str], directory: &Path) -> Self {
        let mut command = http_wasm();
        command.args(["dev", "--listen", "127.0.0.1:0", "--page", "127.0.0.1:0"]).args(args);
        command.current_dir(directory).stderr(Stdio::null());
        let mut server = Server::logged(&mut command);
        let line = server.ready_line();
        let page = line.strip_prefix("page at http://").and_then(|rest| rest.strip_suffix('/')?.parse().ok());
        let page = page.unwrap_or_else(|| panic!("no page but {line:?}"));
        // This line says what is watched.
        assert!(server.ready_line().contains("change"));
        Self { server, page }
    }

    /// Sends a request to the guest, and returns the whole response.
    async fn send(&self, head: &str, body: &str) -> String {
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let request = format!("{head}\r\nhost: a.example\r\nconnection: close\r\n{length}\r\n{body}");
        exchange(self.server.addr, request).await
    }

    /// The status of the guest's response.
    async fn status(&self) -> u16 {
        status(&self.send("GET / HTTP/1.1", "").await)
    }

    async fn ask_page(&self, head: &str) -> String {
        exchange(self.page, format!("{head}\r\nhost: {}\r\nconnection: close\r\n\r\n", self.page)).await
    }

    /// JSON from the page's server.
    async fn json(&self, path: &str) -> Value {
        let answer = self.ask_page(&format!("GET {path} HTTP/1.1")).await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The state, once the guest is in this phase.
    async fn phase(&self, phase: &str) -> Value {
        eventually(async || Some(self.json("/state").await).filter(|state| state["guest"]["phase"] == phase))
            .await
    }

    /// The exchange with this number, once it is over.
    async fn exchange(&self, id: u64) -> Value {
        let path = format!("/exchange/{id}");
        eventually(async || Some(self.json(&path).await).filter(|found| found["took_ms"].is_number())).await
    }

    /// The token in the page.
    async fn token(&self) -> String {
        let page = self.ask_page("GET / HTTP/1.1").await;
        let (_, rest) = page.split_once("name=\"token\" content=\"").expect("the page has a token");
        rest.split_once('"').expect("it ends").0.to_owned()
    }
}

fn status(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.unwrap_or_else(|| panic!("no response but {answer:?}"))
}
