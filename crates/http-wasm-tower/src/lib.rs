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
//! This needs `axum = "0.8"`, `tower-layer = "0.3"`, and tokio with the features `macros`, `net`, `rt-multi-thread` and
//! `time`. `Router::layer` works as well: the guest then sees requests for that router's routes only, after they were
//! matched, and can't send them to another route.
//!
//! # With hyper
//!
//! hyper has its own `Service` trait. `hyper-util`, with its feature `service`, converts a tower service. The client's
//! address is an extension of the request, [`SourceAddr`].
//!
//! ```no_run
//! use std::convert::Infallible;
//!
//! use http::{Request, Response};
//! use http_wasm_tower::{Body, BoxError, Engine, Guest, HttpWasmLayer, SourceAddr};
//! use hyper::body::Incoming;
//! use hyper::server::conn::http1;
//! use hyper_util::{rt::TokioIo, service::TowerToHyperService};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! async fn hello(_: Request<Body>) -> Result<Response<Body>, Infallible> {
//!     Ok(Response::new(Body::from("hello world")))
//! }
//!
//! # async fn serve() -> Result<(), BoxError> {
//! let guest = Guest::builder(&Engine::new()?).load_file_async("guest.wasm").await?;
//! let service = HttpWasmLayer::new(guest).layer(service_fn(hello));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! loop {
//!     let (connection, client) = listener.accept().await?;
//!     let service = service.clone().map_request(move |mut request: Request<Incoming>| {
//!         request.extensions_mut().insert(SourceAddr(client));
//!         request
//!     });
//!     // `with_upgrades` lets WebSockets through.
//!     let connection = http1::Builder::new()
//!         .serve_connection(TokioIo::new(connection), TowerToHyperService::new(service))
//!         .with_upgrades();
//!     tokio::spawn(connection);
//! }
//! # }
//! ```
//!
//! # With tonic
//!
//! The layer goes into `Server::builder().layer(…)`, in front of all services of the server, and finds the client's
//! address with `source_addr(|extensions| extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr))`.
//! To reject a call with a gRPC status, a guest sets `content-type` and `grpc-status`. To use trailers, it calls
//! `enable_features`.
//!
//! # Replacing a guest
//!
//! [`GuestCell`] holds a guest that can be replaced while the service is running. [`GuestCell::replace`] doesn't make
//! any request fail.
//!
//! # Bodies
//!
//! The service behind a guest gets requests with a [`Body`], and clients get responses with one. `Body::from` takes
//! text and bytes, and [`Body::new`] any other body. axum's `Router` accepts any type; for a service that requires its
//! own, map the request: `service.map_request(|request: Request<Body>| request.map(axum::body::Body::new))`.
//!
//! An HTTP/1.1 request whose body has no known length, such as one that a guest [streams](Stream), is declared with
//! `transfer-encoding: chunked`. If your service forwards HTTP/2 requests over HTTP/1.1, set that header yourself:
//! otherwise, hyper's client sends GET and HEAD requests without their body.
//!
//! # Failures
//!
//! Two settings determine what happens when a guest fails. [`GuestBuilder::on_failure`] says whether the request fails
//! with the guest ([`OnFailure::Closed`], the default) or continues without it; [`HttpWasmLayer::failure_policy`] says
//! which response the client of a failed request gets.
//!
//! # Logs, metrics and limits
//!
//! Guests log through `tracing` with the target [`LOG_TARGET`], and failures of guests are logged with this crate's
//! target. A program without a subscriber sees neither. An [`Observer`] is called for each call, with the guest's name;
//! [`Guest::stats`](http_wasm_host::Guest::stats) returns the current numbers of instances. [`Limits`] are per guest.
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
    AbandonedCall, Argument, Backtraces, Bodies, Body, BodyBudget, BodyKind, BodyMemory, BoxError, Call,
    CallResult, Choice, Decoding, DropReason, Engine, EngineBuilder, Error, ErrorKind, FailureResponse,
    Fault, Features, GuestBuilder, GuestFacts, Handled, HeaderKind, HeldBytes, HttpHost, Inform,
    InstanceTracer, LOG_TARGET, Limits, Lint, LoadError, Mount, NoBodyMemory, Observer, OnFailure, Outcome,
    Phase, Pinned, PoolSettings, PoolStats, Progress, RequestStream, ResponseStream, Runtime, Snapshot,
    Stream, StreamEnd, StreamedRequest, Task, TokioRuntime, TraceEvent, TracedCall, TracedGrowth,
    TracedWasiCall, Tracer, Undecodable, UnknownName, ValueType, Warning, choices, is_bodyless, nearest,
};

/// A guest for services that use the types of the `http` crate.
pub type Guest = http_wasm_host::Guest<HttpHost>;

/// The README's examples are compiled with the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
