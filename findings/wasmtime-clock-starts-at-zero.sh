#!/usr/bin/env bash
# Expected: A guest's monotonic clock is that of the machine: the time since boot, as for any process.
# Actual:   In wasmtime, CLOCK_MONOTONIC starts at zero in each store, so two instances never agree.
# Impact:   Zero often means "long ago". In a process, a cache whose last refresh is 0 is stale at once, since the
#           machine has been up for longer than any interval. In a new instance, it counts as fresh for the first
#           minute, and unsigned code that computes "now - interval" wraps. This happens in a pool that creates
#           instances under load, but not in a test that has been running for a while. Also, a monotonic time that one
#           instance passes to another is meaningless there.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile wasmtime==50.0.1
cat > "$work/host.py" <<'PY'
import sys, time
from wasmtime import Engine, Linker, Module, Store, WasiConfig

engine = Engine()
module = Module(engine, """(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "now") (result i64) (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 8))) (i64.load (i32.const 8))))""")

def instance():
    store, linker = Store(engine), Linker(engine)
    store.set_wasi(WasiConfig())
    linker.define_wasi()
    exports = linker.instantiate(store, module).exports(store)
    return lambda: exports["now"](store) / 1e9

start = time.monotonic()
old = instance()
first = old()
time.sleep(2)
new = instance()
a, b, process = old(), new(), time.monotonic()
lived = process - start
print(f"seen:      this process: {process:.1f} s; an instance {lived:.1f} s old: {a:.1f} s; one just made: {b:.1f} s")
sys.exit(not (first <= lived and a <= lived and a - b > 1 and process > lived))
PY
echo "tool:      wasmtime 50.0.1"
echo "expected:  the monotonic clock is the machine's"
echo "actual:    it starts at zero with each store"
python "$work/host.py" && echo "stands" || { echo "changed"; exit 1; }
