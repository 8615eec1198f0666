#!/usr/bin/env bash
# Expected: wasm-opt's --all-features lets it read modules that use any feature. The output uses the features that the
#           input uses.
# Actual:   It also writes the import section in the format of the "compact imports" proposal if two imports share a
#           module name. Neither wasmtime nor Node can read that: "invalid leading byte 0x7F", "unknown import kind
#           0x7f".
# Impact:   Every http-wasm guest with two imports has them from "http_handler", and is therefore affected. The flag is
#           common in build scripts, because wasm-opt rejects bulk memory in a module without a target_features section,
#           which stripping removes. To avoid this, name the features (--enable-bulk-memory), or add
#           --disable-compact-imports.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"; export PATH="$work/venv/bin:$PATH"
pip install -q --disable-pip-version-check --no-compile wasmtime==50.0.1
cd "$work"
npm install --silent --no-audit --no-fund --save-exact binaryen@132.0.0
cat > guest.wat <<'WAT'
(module
  (import "http_handler" "log" (func $log (param i32 i32 i32)))
  (import "http_handler" "get_method" (func $get_method (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "hi")
  (func (export "handle_request") (result i64)
    (call $log (i32.const 0) (i32.const 0) (i32.const 2))
    (drop (call $get_method (i32.const 0) (i32.const 9)))
    (i64.const 1))
  (func (export "handle_response") (param i32 i32)))
WAT
cat > load.js <<'JS'
WebAssembly.compile(require('node:fs').readFileSync(process.argv[2])).then(() => console.log('loads'), error => console.log(error.message))
JS
cat > load.py <<'PY'
import sys
from wasmtime import Engine, Module, WasmtimeError
try:
    Module.from_file(Engine(), sys.argv[1])
    print("loads")
except WasmtimeError as error:
    print(str(error).splitlines()[-1].strip())
PY
echo "tool:      $(npx --no-install wasm-opt --version) (npm binaryen 132.0.0), wasmtime 50.0.1, Node $(node --version)"
echo "expected:  --all-features changes nothing for a module of the first WebAssembly version"
echo "actual:    neither wasmtime nor Node loads the result"
: > seen
for flags in "" "--all-features" "--all-features --disable-compact-imports"; do
  npx --no-install wasm-opt $flags -O guest.wat -o guest.wasm
  echo "seen:      wasm-opt -O $flags"
  echo "             wasmtime: $(python load.py guest.wasm | tee -a seen)"
  echo "             node:     $(node load.js guest.wasm | tee -a seen)"
done
if [ "$(grep -c '^loads$' seen)" = 4 ] && [ "$(sed -n 3,4p seen | grep -ci '0x7f')" = 2 ]; then echo "stands"; else echo "changed"; exit 1; fi
