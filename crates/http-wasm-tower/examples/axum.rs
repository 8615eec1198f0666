//! A guest in front of an axum router: `cargo run -p http-wasm-tower --example axum`, then
//!
//! ```text
//! curl -i http://127.0.0.1:8080/v1/books      the guest rewrites the path
//! curl -i http://127.0.0.1:8080/admin         the guest says no
//! ```

use axum::{Router, routing::get};
use http_wasm_tower::{BoxError, Guest, HttpWasmLayer, engine};

pub(crate) fn app() -> Result<Router, BoxError> {
    let guest = Guest::builder(&engine()?)
        .name("welcome")
        .load(include_bytes!("../../../guests/welcome/welcome.wat"))?;
    let books = Router::new().route("/books", get(|| async { "Dune, Solaris\n" }));
    // `Router::layer` runs after routing. Around the whole router, the guest sees a request first and may change its path.
    let guarded = tower::Layer::layer(&HttpWasmLayer::new(guest), books);
    Ok(Router::new().fallback_service(guarded))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, app()?).await?;
    Ok(())
}
