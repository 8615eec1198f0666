#!/bin/sh
# Needs clang and lld; on Debian: apt-get install clang lld
set -eu
cd "$(dirname "$0")"
clang --target=wasm32 -Os -Wall -ffreestanding -nostdlib -Wl,--no-entry -o guest.wasm guest.c
