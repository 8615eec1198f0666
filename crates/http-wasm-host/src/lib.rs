//! Run [http-wasm](https://http-wasm.io/http-handler-abi/) guests: request-handling logic compiled to WebAssembly.
//!
//! A [`Guest`] is loaded into an [`Engine`] once. Each request is a call of [`Guest::handle_request`] with a
//! [`Host`], the server's view of one request and its response. It ends in an [`Outcome`]: the guest has answered, or
//! the request goes on to the next handler, with the guest's instance [`Pinned`] to it until the response is there.
//!
//! This crate has no HTTP server in it and needs no executor: see `http-wasm-tower` for tower, axum and hyper.

#![deny(missing_docs)]

mod abi;
mod choice;
mod engine;
mod error;
mod exchange;
mod failure;
mod fault;
mod guest;
mod host;
mod limits;
mod load;
mod log;
mod message;
mod observer;
mod pool;
mod report;
mod rule;
mod run;
mod runtime;
mod stats;
mod symbols;
mod text;
mod warning;

pub use self::abi::{Access, BodyKind, FUNCTIONS, Features, Function, HeaderKind, MayWait, Phase, ValueType};
pub use self::choice::{Choice, UnknownName, nearest};
pub use self::engine::{Engine, EngineBuilder, SnapshotFacts};
pub use self::error::{BoxError, Error, ErrorKind, FailureResponse, LoadError, Refused};
pub use self::failure::OnFailure;
pub use self::fault::Fault;
pub use self::guest::{Guest, GuestFacts};
pub use self::host::{
    Body, BodyState, Detach, Detachable, Feed, Host, HttpHost, InMemoryHead, InMemoryHost, Inform, LocalHost,
    Message, RequestChange,
};
pub use self::limits::{Limits, PoolSettings};
pub use self::load::builder::GuestBuilder;
pub use self::load::inspect::{ImportUse, Inspection, Producer};
pub use self::load::snapshot::Snapshot;
pub use self::log::TARGET as LOG_TARGET;
pub use self::message::body_budget::{BodyAccount, BodyBudget, BodyMemory, HeldBytes, NoBodyMemory};
pub use self::message::{Chunks, Discard, Fields, Frame, HeaderChange, Outgoing, Rest, Trailers};
pub use self::observer::{Call, Observer};
pub use self::pool::pinned::{Handled, Outcome, Pinned};
pub use self::pool::progress::Progress;
#[doc(hidden)]
pub use self::rule::Rule;
#[cfg(feature = "mutations")]
#[doc(hidden)]
pub use self::run::intercept::{HostCall, Intercepted, Trap};
pub use self::run::wasi::{Mount, WasiConfig};
pub use self::runtime::{Runtime, Task, TokioRuntime};
pub use self::stats::{DropReason, PoolStats};
pub use self::symbols::Backtraces;
pub use self::warning::{Lint, Warning};
