//! Runs the real `http-wasm` binary: no guest, only the server, its backends and the command line.

mod backends;
mod command_line;
mod proxy;
mod shutdown;
mod streaming;
mod support;
mod tunnel;
