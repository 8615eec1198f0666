//! The cost of the core. Each suite also measures lower bounds in the same run: raw wasmtime without a fiber, a native
//! closure, and no middleware. `cargo bench -p http-wasm-host --bench host -- hostcalls` runs one suite.

mod bodies;
mod floor;
mod hostcalls;
mod lifecycle;
mod nothing;
mod support;

use criterion::{criterion_group, criterion_main};

criterion_group!(host, hostcalls::suite, lifecycle::suite, bodies::suite);
criterion_main!(host);
