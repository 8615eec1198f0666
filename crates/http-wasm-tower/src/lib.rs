//! Runs [http-wasm](https://http-wasm.io/http-handler-abi/) guests in front of any tower service: axum, hyper, tonic.
//!
//! ```no_run
//! use std::net::SocketAddr;
//!
//! use axum::{Router, extract::ConnectInfo, routing::get};
//! use http_wasm_tower::{BoxError, Engine, Guest, HttpWasmLayer};
//! use tower_layer::Layer;
//!
//! # async fn serve() -> Result<(), BoxError> {
//! // Loading compiles the guest, on a separate thread so that no other task waits.
//! let guest = Guest::builder(&Engine::new()?).load_file_async("guest.wasm").await?;
//! let layer = HttpWasmLayer::new(guest)
//!     .source_addr(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
//!
//! let routes = Router::new().route("/", get(|| async { "hello world" }));
//! // Wrap the whole router, so that the guest sees a request before it is routed.
//! let app = Router::new().fallback_service(layer.layer(routes));
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Guests log through `tracing` with the target [`LOG_TARGET`], and failures of guests are logged with this crate's
//! target: a program without a subscriber sees neither.
//!
//! A guest's pool of instances has no limit: each request in flight between a guest's two phases holds one instance. If
//! the server has no limit of its own, put tower's `ConcurrencyLimitLayer` (or `LoadShedLayer` around it) outside the
//! guest.

#![deny(missing_docs)]

mod addr;
mod chain;
mod failure;
mod layer;
mod service;

pub use self::addr::SourceAddr;
pub use self::chain::{Chain, ChainFuture, ChainGuest, ChainObserver, GuestCell, GuestObserver};
pub use self::failure::{FailurePolicy, GatewayTimeout, HideDetails};
pub use self::layer::HttpWasmLayer;
pub use self::service::{HttpWasm, ResponseFuture};

pub use http_wasm_host::{
    Backtraces, Body, BodyBudget, BodyMemory, BoxError, Call, Choice, DropReason, Engine, EngineBuilder,
    Error, ErrorKind, FailureResponse, Fault, GuestBuilder, GuestFacts, Handled, HeldBytes, HttpHost, Inform,
    LOG_TARGET, Limits, Lint, LoadError, Mount, NoBodyMemory, Observer, OnFailure, Outcome, Phase, Pinned,
    PoolSettings, PoolStats, Progress, Runtime, Snapshot, Task, TokioRuntime, UnknownName, Warning, choices,
    is_bodyless, nearest,
};

/// A guest for services that use the types of the `http` crate.
pub type Guest = http_wasm_host::Guest<HttpHost>;

/// The README's examples are compiled with the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
