//! Runs the real `http-wasm` binary.

mod backends;
mod command_line;

mod guests;
mod hostile;
mod proxy;
mod shutdown;
mod streaming;
mod support;
mod tck;
mod tunnel;
