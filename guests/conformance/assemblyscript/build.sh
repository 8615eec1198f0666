#!/bin/sh
# build.sh FILE: builds the guest with AssemblyScript's compiler, which ASC names if it isn't `asc`.
set -eu
out=$(realpath "$1")
cd "$(dirname "$0")"
${ASC:-asc} guest.ts --use abort= -O -o "$out"
