#!/usr/bin/env bash
# Guess:   `lto = "thin"` in the profile applies to a crate's cdylib; that the same crate is also an ordinary library, for its tests,
#          changes nothing about the shared object, or cargo says that the setting can't be applied.
# Reality: with `crate-type = ["cdylib", "lib"]` cargo passes no `-C lto` to rustc, and says nothing. With ["cdylib"] alone, or with
#          `cargo rustc --lib --crate-type cdylib` for the unchanged manifest, it does.
# Matters: a module for a proxy is such a crate: its integration tests need the library. It is shipped larger and slower than its
#          profile says.
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
echo "guess:     -C lto=thin is passed in each of the three builds"
echo "behaviour: not for a crate that is both"
echo "seen:      cdylib alone: $alone; cdylib and lib: $both; cdylib and lib, only the cdylib built: $asked"
[ "$alone,$both,$asked" = yes,no,yes ] && echo "stands" || { echo "changed"; exit 1; }
