//! A dynamic module for Envoy: an HTTP filter that runs http-wasm guests.
//!
//! Envoy loads it as a shared library and calls the functions in `hooks`. It isn't meant for use from other Rust code.
//! `docs/envoy.md` explains how to configure it.

mod compute;
mod config;
mod direction;
mod drive;
mod exchange;
mod failure;
mod ffi;
mod filter;
mod heads;
mod hooks;
mod inventory;
mod link;
mod live;
mod log;
mod memory;
mod outbound;
mod placement;
mod process;
mod proto;
mod reply;
mod route_count;
mod sending;
mod snapshot;
mod stacks;
mod stats;
mod stream;
mod stream_memory;
mod wake;
mod watermarks;
mod writers;

pub use self::ffi::{OPTIONAL_CALLBACKS, REQUIRED_CALLBACKS};
