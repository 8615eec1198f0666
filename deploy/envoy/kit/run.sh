#!/usr/bin/env bash
# Runs the conformance kit through Envoy, with guests in it (module) and beside it (ext-proc), over both versions of
# HTTP; the group for streams with the module alone. Fails on each case that fails and isn't in `exceptions`. Variables
# as for launch.sh.
set -euo pipefail
cd "$(dirname "$0")"
failed=0
results=$(mktemp)
trap 'rm -f "$results"' EXIT
for how in module ext-proc; do
  exceptions=$(sed -nE "s/^(both|$how) +([^ ]+) .*/\\2/p" exceptions)
  streams=()
  [ "$how" = module ] &&
    streams=(--streams "${STREAMS:-both}" --launch-stream "./launch.sh stream {listen} {backend} {guest} {config}")
  for version in 1.1 2; do
    "$HTTP_WASM" tck run --http "$version" --launch "./launch.sh $how {listen} {backend} {guest} {config}" \
      "${streams[@]}" >"$results" ||
      grep -q '^total' "$results" || { cat "$results" >&2; exit 1; }
    echo "$how, HTTP/$version: $(sed -nE 's/^total +//p' "$results") (passed, failed, skipped)"
    while read -r _ case rest; do
      excepted=
      for pattern in $exceptions; do
        # shellcheck disable=SC2053 # a pattern
        [[ $case == $pattern ]] && excepted=yes
      done
      [ -n "$excepted" ] || { echo "FAIL  $how, HTTP/$version: $case $rest"; failed=1; }
    done < <(grep '^FAIL' "$results")
  done
done
exit $failed
