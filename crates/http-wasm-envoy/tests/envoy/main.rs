//! Guests in a real Envoy, which `HTTP_WASM_ENVOY` names. Without it, these tests are skipped and say so.

mod bodies;
mod config;
mod heads;
mod isolation;
mod names;
mod support;
