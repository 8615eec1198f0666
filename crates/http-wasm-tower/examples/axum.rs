//! A guest in front of an axum router: `cargo run -p http-wasm-tower --example axum`, then
//!
//! ```text
//! curl -i http://127.0.0.1:8080/v1/books      the guest rewrites the path curl -i http://127.0.0.1:8080/admin
//! the guest refuses access
//! ```

use std::net::SocketAddr;

use axum::{Router, extract::ConnectInfo, routing::get};
use http_wasm_tower::{BoxError, Engine, Guest, HttpWasmLayer};
use tower::Layer as _;

pub(crate) async fn app() -> Result<Router, BoxError> {
    // Compiles on a separate thread, since that can take seconds.
    let guest = Guest::builder(&Engine::new()?)
        .name("welcome")
        .load_async(include_bytes!("../../../guests/welcome/welcome.wat"))
        .await?;
    let layer = HttpWasmLayer::new(guest)
        .source_addr(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
    let books = Router::new().route("/books", get(|| async { "Dune, Solaris\n" }));
    // `Router::layer` runs after routing. Around the whole router, the guest sees a request first and may change its
    // path.
    Ok(Router::new().fallback_service(layer.layer(books)))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Logs of guests and the reasons of their failures, filtered by `RUST_LOG`.
    tracing_subscriber::fmt::init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, app().await?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
