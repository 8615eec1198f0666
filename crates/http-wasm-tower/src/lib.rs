//! Put an [http-wasm](https://http-wasm.io/http-handler-abi/) guest in front of any tower service: axum, hyper, tonic.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use http_wasm_tower::{Guest, HttpWasmLayer, engine};
//! use tower_layer::Layer;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let guest = Guest::builder(&engine()?).load_file("guest.wasm")?;
//! let routes = Router::new().route("/", get(|| async { "hello world" }));
//! // `Router::layer` would run after routing. Around the whole router, the guest sees a request before it is routed.
//! let app = Router::new().fallback_service(HttpWasmLayer::new(guest).layer(routes));
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, app).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A guest's pool of instances has no cap: each request in flight between a guest's two phases holds one instance.
//! Where the server has no limit of its own, put tower's `ConcurrencyLimitLayer` (or `LoadShedLayer` around it)
//! outside the guest.

#![deny(missing_docs)]

mod addr;
mod chain;
mod failure;
mod layer;
mod runtime;
mod service;

pub use self::addr::SourceAddr;
pub use self::chain::{Chain, ChainFuture, ChainGuest, ChainObserver, GuestCell, GuestObserver};
pub use self::failure::{FailurePolicy, GatewayTimeout, HideDetails};
pub use self::layer::HttpWasmLayer;
pub use self::runtime::TokioRuntime;
pub use self::service::{HttpWasm, ResponseFuture};

pub use http_wasm_host::{
    Body, BodyBudget, BodyMemory, BoxError, Call, DropReason, Engine, EngineBuilder, Error, ErrorKind,
    GuestBuilder, Handled, HeldBytes, HttpHost, Inform, LOG_TARGET, Limits, LoadError, Mount, NoBodyMemory,
    Observer, OnFailure, Outcome, Phase, Pinned, PoolSettings, PoolStats, Progress, Snapshot,
};

/// A guest for services over the `http` crate's types.
pub type Guest = http_wasm_host::Guest<HttpHost>;

/// An engine that uses tokio's tasks and timers. A process needs one.
///
/// # Errors
/// When this machine can't run WebAssembly, or no thread can be started.
pub fn engine() -> Result<Engine, LoadError> {
    engine_builder().build()
}

/// Settings for an engine that uses tokio's tasks and timers.
pub fn engine_builder() -> EngineBuilder {
    Engine::builder().runtime(TokioRuntime::default())
}

/// The README's examples are compiled with the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
