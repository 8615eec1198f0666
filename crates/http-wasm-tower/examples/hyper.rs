//! A guest in front of a hyper service, HTTP/1.1 and HTTP/2 on one port: `cargo run -p http-wasm-tower --example
//! hyper`.

use std::convert::Infallible;
use std::net::SocketAddr;

use http::{Request, Response};
use http_wasm_tower::{Body, BoxError, Engine, Guest, HttpWasmLayer, SourceAddr};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{Layer as _, ServiceExt as _, service_fn};

/// Answers with the client's address in a header.
const GUEST: &str = r#"(module
    (import "http_handler" "get_source_addr" (func $get_source_addr (param i32 i32) (result i32)))
    (import "http_handler" "set_header_value" (func $set_header_value (param i32 i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "x-client")
    (func (export "handle_request") (result i64)
        (call $set_header_value (i32.const 1) (i32.const 0) (i32.const 8)
            (i32.const 64) (call $get_source_addr (i32.const 64) (i32.const 64)))
        (i64.const 1))
    (func (export "handle_response") (param i32 i32)))"#;

async fn hello(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::from("hello world\n")))
}

pub(crate) async fn serve(listener: TcpListener) -> Result<(), BoxError> {
    // Compiles on a separate thread, since that can take seconds.
    let guest = Guest::builder(&Engine::new()?).name("client-address").load_async(GUEST).await?;
    let service = HttpWasmLayer::new(guest).layer(service_fn(hello));
    loop {
        let (connection, client): (_, SocketAddr) = listener.accept().await?;
        let service = service.clone().map_request(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(SourceAddr(client));
            request
        });
        tokio::spawn(async move {
            // An error here means that a client has broken its connection.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(connection), TowerToHyperService::new(service))
                .await;
        });
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Logs of guests and the reasons of their failures, filtered by `RUST_LOG`.
    tracing_subscriber::fmt::init();
    serve(TcpListener::bind("127.0.0.1:8080").await?).await
}
