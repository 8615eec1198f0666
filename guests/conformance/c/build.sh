#!/bin/sh
# build.sh FILE: builds the guest with clang and lld.
set -eu
out=$(realpath "$1")
cd "$(dirname "$0")"
clang --target=wasm32 -Os -Wall -Werror -ffreestanding -nostdlib -I ../../examples/c \
  -Wl,--no-entry,--initial-memory=3145728 -o "$out" guest.c
