//! Runs the real `http-wasm` binary.

mod authors;
mod backends;
mod bench;
mod command_line;
mod config;
mod descriptors;
mod dev;
mod guests;
mod hostile;
mod proxy;
mod redaction;
mod replay;
mod settings;
mod shutdown;
mod sockets;
mod streaming;
mod support;
mod tck;
mod tunnel;
