#!/bin/sh
# Needs Rust, and once: rustup target add wasm32-unknown-unknown
set -eu
cd "$(dirname "$0")"
cargo build --quiet --release --target wasm32-unknown-unknown
cp target/wasm32-unknown-unknown/release/*.wasm guest.wasm
