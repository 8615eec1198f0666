#!/usr/bin/env bash
# Builds the module for glibc 2.28 and later, without libgcc_s, stripped: for any Envoy image with glibc.
# Needs cargo, rustup's target x86_64-unknown-linux-gnu, Python with pip, and network access for the linker (zig, from
# PyPI).
#
#     deploy/envoy/build.sh [--profile ENVOY]
#
# With --profile, the module is built twice. In between, this Envoy runs it under load, and the second build optimises
# what was executed: in Envoy, the module then takes about 40 % less time. Also needs wrk, nginx, and rustup's component
# llvm-tools.
set -euo pipefail
envoy=
case ${1-} in
  "") ;;
  --profile) envoy=$(realpath "${2:?--profile needs the path of an Envoy}") ;;
  *)
    echo "unknown argument $1" >&2
    exit 2
    ;;
esac
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
while [ \$# -gt 0 ]; do
  case \$1 in
    -lgcc_s | --target=* | -Wl,--as-needed) ;;
    # zig only accepts it in one word.
    -u)
      args+=("-u\$2")
      shift
      ;;
    *) args+=("\$1") ;;
  esac
  shift
done
PYTHONPATH=$tools/python exec python3 -m ziglang cc -target x86_64-linux-gnu.2.28 "\${args[@]}" -lunwind
EOF
chmod +x "$tools/cc"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER="$tools/cc"
module=$target/x86_64-unknown-linux-gnu/module/libhttp_wasm_envoy.so
# The arguments are for the module's own crate, which contains most of what a request executes.
build() {
  # Cargo drops LTO for a crate that is also a Rust library, so only the cdylib is built.
  cargo rustc --profile module --package http-wasm-envoy --lib --crate-type cdylib \
    --target x86_64-unknown-linux-gnu -- "$@"
}
if [ "$envoy" ]; then
  profdata=$(rustc --print target-libdir)/../bin/llvm-profdata
  [ -x "$profdata" ] || { echo "llvm-profdata is missing: rustup component add llvm-tools" >&2; exit 1; }
  profile=$target/envoy-profile
  rm -rf "$profile"
  mkdir -p "$profile"
  build -C profile-generate
  LLVM_PROFILE_FILE=$profile/%p.profraw deploy/envoy/figures.py --envoy "$envoy" --module "$module" \
    --workers 1 --rounds 1 >/dev/null
  "$profdata" merge -o "$profile/module.profdata" "$profile"/*.profraw
  build -C "profile-use=$profile/module.profdata"
else
  build
fi
strip --strip-unneeded "$module"
if readelf -d "$module" | grep NEEDED | grep -v 'libc\.\|libm\.\|libpthread\.\|libdl\.\|ld-linux'; then
  echo "the module needs another library than glibc's" >&2
  exit 1
fi
newest=$(readelf -W --dyn-syms "$module" | grep -o 'GLIBC_2\.[0-9]*' | sort -uV | tail -1)
printf '%s\n%s\n' "$newest" GLIBC_2.28 | sort -CV || { echo "the module needs $newest" >&2; exit 1; }
ls -l "$module"
