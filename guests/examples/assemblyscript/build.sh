#!/bin/sh
# Needs npm.
set -eu
cd "$(dirname "$0")"
[ -d node_modules/assemblyscript ] || npm install --silent --no-audit --no-fund
npm run --silent build
