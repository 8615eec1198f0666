#!/usr/bin/env bash
# Expected: `lto = "thin"` in the profile applies to a crate's cdylib. If the same crate is also an ordinary library,
#           for its tests, the shared object is unaffected, or cargo reports that the setting can't be applied.
# Actual:   With `crate-type = ["cdylib", "lib"]`, cargo silently passes no `-C lto` to rustc. With ["cdylib"] only, or
#           with `cargo rustc --lib --crate-type cdylib` and the same manifest, it does.
# Impact:   A module for a proxy is such a crate, since its integration tests need the library. It ships larger and
#           slower than its profile suggests.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat > src/lib.rs <<'RS'
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> i32 { 42 }
RS
manifest() {
  cat > Cargo.toml <<TOML
[package]
name = "module"
version = "0.1.0"
edition = "2024"
[lib]
crate-type = [$1]
[profile.release]
lto = "thin"
[workspace]
TOML
}
# seen COMMAND...: whether rustc gets `-C lto`.
seen() {
  local output
  rm -rf target
  output=$("$@" --release --offline --verbose 2>&1)
  case $output in *"-C lto=thin"*) echo yes ;; *) echo no ;; esac
}
manifest '"cdylib"'
alone=$(seen cargo build)
manifest '"cdylib", "lib"'
both=$(seen cargo build)
asked=$(seen cargo rustc --lib --crate-type cdylib)
echo "tool:      $(cargo --version) (seen with 1.95.0)"
echo "expected:  -C lto=thin is passed in each of the three builds"
echo "actual:    not for a crate that is both"
echo "seen:      cdylib alone: $alone; cdylib and lib: $both; cdylib and lib, only the cdylib built: $asked"
[ "$alone,$both,$asked" = yes,no,yes ] && echo "stands" || { echo "changed"; exit 1; }
