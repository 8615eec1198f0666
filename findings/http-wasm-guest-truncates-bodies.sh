#!/usr/bin/env bash
# Expected: Body::read of http-wasm-guest, which "reads the entire body into memory", returns all 20,000,000 bytes of a
#           body, or panics if that is too much.
# Actual:   It stops at 16 MiB without an error, and returns what it has as if the body ended there.
# Impact:   A guest that reads a body, changes it and writes it truncates large uploads and downloads, and one that
#           searches for something forbidden doesn't see what comes after the first 16 MiB. Body::read_iter has no such
#           limit.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
rustup target list --installed | grep -qx wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile wasmtime==50.0.1
mkdir -p "$work/guest/src"; cd "$work/guest"
cat > Cargo.toml <<'TOML'
[package]
name = "guest"
version = "0.1.0"
edition = "2024"
[lib]
crate-type = ["cdylib"]
[dependencies]
http-wasm-guest = { version = "=1.2.0", default-features = false }
[workspace]
TOML
cat > src/lib.rs <<'RUST'
use http_wasm_guest::host::{Request, Response};
use http_wasm_guest::{Guest, register};
struct Copy;
#[unsafe(export_name = "_initialize")]
extern "C" fn initialize() { register(Copy); }
impl Guest for Copy {
    fn handle_request(&self, request: &Request, _: &Response) -> (bool, i32) {
        let body = request.body.read();
        request.body.write(&body);
        (true, 0)
    }
}
RUST
cargo build --quiet --release --target wasm32-unknown-unknown
cat > host.py <<'PY'
import sys
from wasmtime import Engine, FuncType, Linker, Module, Store, ValType
LENGTH = 20_000_000
engine = Engine()
module = Module.from_file(engine, "target/wasm32-unknown-unknown/release/guest.wasm")
store, linker = Store(engine), Linker(engine)
read = wrote = 0
ended = False

def read_body(caller, kind, buf, limit):
    global read, ended
    n = min(limit, LENGTH - read)
    caller["memory"].write(caller, b"x" * n, buf)
    read += n
    ended = read == LENGTH
    return int(ended) << 32 | n

def write_body(caller, kind, body, length):
    global wrote
    wrote += length

functions = {"read_body": read_body, "write_body": write_body}
for i in module.imports:
    def unused(caller, *args): raise RuntimeError("not called here")
    linker.define_func(i.module, i.name, i.type, functions.get(i.name, unused), access_caller=True)
exports = linker.instantiate(store, module).exports(store)
exports["_initialize"](store)
result = exports["handle_request"](store)
print(f"seen:      of {LENGTH:,} bytes, the guest has read {read:,} and written {wrote:,}; it was told of the end: {ended}")
print(f"           handle_request returned {result}: the request proceeds")
sys.exit(not (wrote == 16 * 1024 * 1024 and not ended and result & 1))
PY
echo "tool:      http-wasm-guest 1.2.0, $(rustc --version), wasmtime 50.0.1"
echo "expected:  the entire body, or a panic"
echo "actual:    the first 16 MiB"
python host.py && echo "stands" || { echo "changed"; exit 1; }
