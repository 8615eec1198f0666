#!/bin/sh
# Needs Zig 0.15; from PyPI: pip install ziglang==0.15.2, and set ZIG="python3 -m ziglang"
set -eu
cd "$(dirname "$0")"
${ZIG:-zig} build-exe guest.zig -target wasm32-freestanding -O ReleaseSmall -fno-entry -rdynamic -femit-bin=guest.wasm
