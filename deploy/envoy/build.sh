#!/usr/bin/env bash
# Builds the module for glibc 2.28 and later, without libgcc_s, stripped: for any Envoy image with glibc.
# Needs cargo, rustup's target x86_64-unknown-linux-gnu, Python with pip, and network access for the linker (zig, from
# PyPI).
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
# Always in the same place: if the linker's path changes, Cargo builds everything again.
tools=$target/envoy-linker
zig=ziglang==0.15.1
if [ ! -e "$tools/$zig" ]; then
  rm -rf "$tools"
  python3 -m pip install --quiet --target "$tools/python" "$zig"
  touch "$tools/$zig"
fi
cat >"$tools/cc" <<EOF
#!/usr/bin/env bash
# rustc passes its own target and requires libgcc_s; zig has its own unwinder.
args=()
for arg in "\$@"; do
  case \$arg in
    -lgcc_s | --target=* | -Wl,--as-needed) ;;
    *) args+=("\$arg") ;;
  esac
done
PYTHONPATH=$tools/python exec python3 -m ziglang cc -target x86_64-linux-gnu.2.28 "\${args[@]}" -lunwind
EOF
chmod +x "$tools/cc"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER="$tools/cc"
# Cargo drops LTO for a crate that is also a Rust library, so only the cdylib is built.
cargo rustc --profile module --package http-wasm-envoy --lib --crate-type cdylib --target x86_64-unknown-linux-gnu
module=$target/x86_64-unknown-linux-gnu/module/libhttp_wasm_envoy.so
strip --strip-unneeded "$module"
if readelf -d "$module" | grep NEEDED | grep -v 'libc\.\|libm\.\|libpthread\.\|libdl\.\|ld-linux'; then
  echo "the module needs another library than glibc's" >&2
  exit 1
fi
newest=$(readelf -W --dyn-syms "$module" | grep -o 'GLIBC_2\.[0-9]*' | sort -uV | tail -1)
printf '%s\n%s\n' "$newest" GLIBC_2.28 | sort -CV || { echo "the module needs $newest" >&2; exit 1; }
ls -l "$module"
