//! Guests in a real Envoy, or beside one, which `HTTP_WASM_ENVOY` names. Without it, these tests are skipped and say
//! so.

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
mod support;
mod updates;
