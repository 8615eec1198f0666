//! Runs [http-wasm](https://http-wasm.io/http-handler-abi/) guests: HTTP middleware compiled to WebAssembly.
//!
//! A [`Guest`] is loaded into an [`Engine`] once. For each request, call [`Guest::handle_request`] with a [`Host`],
//! which gives the guest access to one request and its response. The result is an [`Outcome`]: either the guest has
//! responded, or the request is for the next handler, and an instance of the guest stays [`Pinned`] to it until there
//! is a response.
//!
//! This crate contains no HTTP server and needs no async runtime. For tower, axum and hyper, see `http-wasm-tower`.

#![deny(missing_docs)]

mod abi;
mod bodies;
mod choice;
mod coding;
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
mod replay;
mod report;
mod rule;
mod run;
mod runtime;
mod stats;
mod symbols;
mod text;
mod trace;
mod warning;

pub use self::abi::{Access, BodyKind, FUNCTIONS, Features, Function, HeaderKind, MayWait, Phase, ValueType};
pub use self::bodies::{Bodies, Decoding, Stream, Undecodable};
pub use self::choice::{Choice, UnknownName, nearest};
pub use self::engine::{Engine, EngineBuilder, SnapshotFacts};
pub use self::error::{BoxError, Error, ErrorKind, FailureResponse, LoadError, Refused};
pub use self::failure::OnFailure;
pub use self::fault::Fault;
pub use self::guest::{Guest, GuestFacts};
pub use self::host::{
    Body, BodyState, Detach, Detachable, Feed, HeadChange, Host, HttpHost, InMemoryHead, InMemoryHost,
    Inform, LocalHost, Message, StreamedRequest,
};
pub use self::limits::{Limits, PoolSettings};
pub use self::load::builder::GuestBuilder;
pub use self::load::inspect::{ImportUse, Inspection, Producer};
pub use self::load::snapshot::Snapshot;
pub use self::log::TARGET as LOG_TARGET;
pub use self::message::body_budget::{
    BodyAccount, BodyBudget, BodyMemory, HeldBytes, NoBodyMemory, Reservation as BodyReservation,
};
pub use self::message::{
    Chunks, Discard, Fields, Frame, HeaderChange, Outgoing, Recode, Rest, Streamed, Trailers,
};
pub use self::observer::{Call, Observer};
pub use self::pool::abandoned::AbandonedCall;
pub use self::pool::outcome::{Outcome, RequestStream};
pub use self::pool::pinned::Pinned;
pub use self::pool::progress::Progress;
pub use self::pool::streaming::{Handled, ResponseStream, StreamEnd};
pub use self::replay::{Answers, ReplayedCall, ReplayedInstance, ReplayedModule, Returned};
#[doc(hidden)]
pub use self::rule::Rule;
#[cfg(feature = "mutations")]
#[doc(hidden)]
pub use self::run::intercept::{HostCall, Intercepted, Trap};
pub use self::run::wasi::{Mount, WasiConfig};
pub use self::runtime::{Runtime, Task, TokioRuntime};
pub use self::stats::{DropReason, PoolStats};
pub use self::symbols::Backtraces;
pub use self::text::is_bodyless;
pub use self::trace::{
    Argument, CallResult, InstanceTracer, TraceEvent, TracedCall, TracedGrowth, TracedWasiCall, Tracer,
};
pub use self::warning::{Lint, Warning};
