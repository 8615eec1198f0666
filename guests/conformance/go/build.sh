#!/bin/sh
# build.sh FILE: builds the guest with Go 1.24 or later. The binding is a file of the same package, so it is copied.
set -eu
out=$(realpath "$1")
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp guest.go go.mod ../../examples/go/http_handler.go "$work"
cd "$work"
GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags=-w -o "$out" .
