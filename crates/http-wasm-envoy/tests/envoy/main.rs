//! Guests in a real Envoy, or in its external processor. `HTTP_WASM_ENVOY` has the path of Envoy; without it, these
//! tests print that they are skipped.

mod bodies;
mod chaos;
mod config;
mod drain;
mod examples;
mod ext_proc;
mod heads;
mod isolation;
mod lifetimes;
mod names;
mod shapes;
mod streams;
mod support;
mod updates;
