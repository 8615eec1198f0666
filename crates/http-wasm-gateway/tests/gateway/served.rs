//! A running gateway, and a client.

use std::net::SocketAddr;

use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use http_wasm_gateway::Gateway;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::files::Files;
use crate::support::eventually;

/// A guest that traps if the path ends in "trap" (its last byte is `p`), answers if it ends in `a`, and lets all others
/// proceed.
pub(crate) const DECIDES_BY_PATH: &str = r#"(module
  (import "http_handler" "get_uri" (func $uri (param i32 i32) (result i32)))
  (import "http_handler" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "judging")
  (func (export "handle_request") (result i64) (local $last i32)
    (call $log (i32.const 0) (i32.const 1024) (i32.const 7))
    (local.set $last (i32.load8_u (i32.sub (call $uri (i32.const 0) (i32.const 512)) (i32.const 1))))
    (if (i32.eq (local.get $last) (i32.const 0x70)) (then unreachable))
    (i64.extend_i32_u (i32.ne (local.get $last) (i32.const 0x61))))
  (func (export "handle_response") (param i32 i32)))"#;

/// A gateway that serves until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) files: Files,
    client: Client<HttpConnector, Full<Bytes>>,
    _task: JoinSet<()>,
}

impl Served {
    /// Starts with this configuration, to which `listen` is added unless it begins with it. The guest
    /// [`DECIDES_BY_PATH`] is in `judges.wat`, and `broken.wat` isn't a valid guest.
    pub(crate) async fn start(text: &str) -> Self {
        Self::start_with(text, |gateway, _| gateway).await
    }

    pub(crate) async fn start_with(text: &str, prepare: impl FnOnce(Gateway, &Files) -> Gateway) -> Self {
        Self::start_in(Files::new(), text, prepare).await
    }

    /// The same, with a file that the configuration refers to.
    pub(crate) async fn start_with_file(name: &str, content: &str, text: &str) -> Self {
        let files = Files::new();
        files.write(name, content);
        Self::start_in(files, text, |gateway, _| gateway).await
    }

    /// The same, with existing files.
    pub(crate) async fn start_in(
        files: Files,
        text: &str,
        prepare: impl FnOnce(Gateway, &Files) -> Gateway,
    ) -> Self {
        files.write("judges.wat", DECIDES_BY_PATH);
        files.write("broken.wat", "(module)");
        let listen = if text.starts_with("listen") || text.starts_with("[[listen") {
            ""
        } else {
            "listen = ['127.0.0.1:0']\n"
        };
        let text = format!("{listen}{text}");
        let config = files.load(&text).unwrap_or_else(|faults| panic!("{faults}"));
        let gateway = Gateway::build(config).await.expect("the gateway can be built");
        let gateway = prepare(gateway, &files);
        let admin = gateway.admin_address();
        let (sender, receiver) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let serving = gateway.serve(|addresses| sender.send(addresses[0].addr).expect("the test waits"));
            serving.await.expect("the gateway can serve");
        });
        let address = receiver.await.expect("the gateway gets ready");
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { address, admin, files, client, _task: task }
    }

    /// The same, for a gateway that can reload its configuration. It must have an `[admin]` section.
    pub(crate) async fn reloadable(text: &str) -> Self {
        Self::start_with(text, |gateway, files| gateway.with_file(files.config_file())).await
    }

    /// Reloads with this configuration. Returns the response, which describes the result.
    pub(crate) async fn reload(&self, text: &str) -> String {
        self.files.write("gateway.toml", &format!("listen = ['127.0.0.1:0']\n{text}"));
        let answer = self.ask(Method::POST, "/reload").await;
        assert_eq!(answer.status(), http::StatusCode::OK, "{}", answer.body());
        answer.into_body()
    }

    /// Sends a request to the gateway.
    pub(crate) async fn send(&self, request: http::request::Builder, body: &str) -> Response<String> {
        let uri = format!("http://{}{}", self.address, request.uri_ref().expect("a path"));
        self.call(request.uri(uri), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response<String> {
        self.send(Request::get(path), "").await
    }

    /// Sends a request to the admin listener.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Response<String> {
        self.ask_with(Request::builder().method(method).uri(path)).await
    }

    pub(crate) async fn ask_with(&self, request: http::request::Builder) -> Response<String> {
        let admin = self.admin.expect("an [admin] section");
        let uri = format!("http://{admin}{}", request.uri_ref().expect("a path"));
        self.call(request.uri(uri), "").await
    }

    /// Waits until `/status` satisfies `wanted`: a request is recorded just after its last byte.
    pub(crate) async fn status_with(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        eventually(async || {
            let answer = self.ask(Method::GET, "/status").await;
            let status = serde_json::from_str(answer.body()).expect("the status is JSON");
            wanted(&status).then_some(status)
        })
        .await
    }

    async fn call(&self, request: http::request::Builder, body: &str) -> Response<String> {
        let request = request.body(Full::from(body.to_owned())).expect("a request");
        let (head, body) = self.client.request(request).await.expect("an answer").into_parts();
        let bytes = body.collect().await.expect("the whole body").to_bytes();
        Response::from_parts(head, String::from_utf8(bytes.to_vec()).expect("text"))
    }
}
