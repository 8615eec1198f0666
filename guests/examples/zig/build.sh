#!/bin/sh
# Needs Zig 0.15, on the PATH or from PyPI: pip install ziglang==0.15.2. Set ZIG to use another command.
set -eu
cd "$(dirname "$0")"
if [ -z "${ZIG:-}" ]; then
  if command -v zig >/dev/null; then ZIG=zig; else ZIG="python3 -m ziglang"; fi
fi
$ZIG build-exe guest.zig -target wasm32-freestanding -O ReleaseSmall -fno-entry -rdynamic -femit-bin=guest.wasm
