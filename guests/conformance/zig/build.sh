#!/bin/sh
# build.sh FILE: builds the guest with Zig 0.15; from PyPI, set ZIG="python3 -m ziglang".
set -eu
out=$(realpath "$1")
cd "$(dirname "$0")"
${ZIG:-zig} build-exe -target wasm32-freestanding -O ReleaseSafe -fno-entry -rdynamic -femit-bin="$out" \
  --dep http_handler -Mroot=guest.zig -Mhttp_handler=../../examples/zig/http_handler.zig
