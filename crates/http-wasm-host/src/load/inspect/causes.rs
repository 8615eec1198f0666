//! Explains why a guest has imports that http-wasm hosts don't provide, and what to change in its build.
//!
//! The imports of a module show for which toolchain, library or platform it was built. Each rule here identifies one.

use super::format::BUILD_CORE;
use super::signatures::{self, HANDLER, WASI};
use crate::choice::nearest;

/// The kind of an imported item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A function, with the number of its parameters.
    Function(usize),
    /// A memory, and whether it is shared between threads.
    Memory {
        shared: bool,
    },
    Table,
    Global,
    Tag,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Function(_) => "function",
            Self::Memory { .. } => "memory",
            Self::Table => "table",
            Self::Global => "global",
            Self::Tag => "tag",
        }
    }
}

/// The likely cause of an import that isn't part of the ABI, and what to change.
pub(super) fn cause(module: &str, name: &str, kind: Kind) -> String {
    if let Some(help) = kind_cause(module, name, kind) {
        return help.into();
    }
    if let Some(help) = misplaced(module, name, kind) {
        return help;
    }
    let help = platform(module, name)
        .or_else(|| toolchain(module, name))
        .or_else(|| if module == "env" { Some(env(name, kind)) } else { None });
    help.unwrap_or(OTHER).into()
}

const OTHER: &str = "a guest may import only functions of `http_handler` and `wasi_snapshot_preview1`: \
     remove the code or the dependency that declares this import (in AssemblyScript, a `declare` without \
     `@external` is imported from a module named after its source file)";

const DYNAMIC: &str = "the guest is a dynamically linked library that expects a loader: link it statically (without \
     `-shared`, `--experimental-pic` or Emscripten's `-sSIDE_MODULE`/`-sMAIN_MODULE`)";

const MINIFIED: &str = "these are Emscripten's minified names for its JavaScript glue: link with `emcc \
     -sSTANDALONE_WASM --no-entry` or, simpler, build with wasi-sdk";

pub(super) const PROXY_WASM: &str = "this is a proxy-wasm guest (Envoy, Istio, Kong, ngx_wasm_module), which uses \
     another ABI: port it to the functions of `http_handler`";

pub(super) const WAPC: &str =
    "this is a waPC guest (wasmCloud, Kubewarden), which uses another ABI: build without the waPC SDK";

fn kind_cause(module: &str, name: &str, kind: Kind) -> Option<&'static str> {
    // Emscripten minifies names of all kinds alike, and the remedy is the same.
    let minified = module.len() == 1 && name.len() <= 2;
    match kind {
        Kind::Function(_) => None,
        Kind::Memory { shared: true } => Some(
            "a guest runs on one thread and exports its own, unshared memory: build without threads (no `-pthread`, no \
             `--shared-memory`, no `+atomics`; `wasm32-wasip1`, not `wasm32-wasip1-threads`)",
        ),
        _ if minified => Some(MINIFIED),
        Kind::Memory { .. } => Some(
            "a guest defines its memory and exports it: link without `--import-memory` (AssemblyScript: \
             `--importMemory`, Emscripten: `-sIMPORTED_MEMORY`, Zig: `--import-memory`)",
        ),
        _ if module.starts_with("GOT.")
            || matches!(name, "__memory_base" | "__table_base" | "__stack_pointer") =>
        {
            Some(DYNAMIC)
        }
        Kind::Table => Some(
            "a guest defines its own tables: link without `--import-table` (AssemblyScript: `--importTable`), and \
             statically",
        ),
        Kind::Tag => Some(
            "a tag is imported if exceptions cross modules: link the C++ runtime statically, or build with \
             `-fno-exceptions` (and without `setjmp`/`longjmp`)",
        ),
        Kind::Global => Some(
            "the host provides no globals: define it in the guest, or read the value with `get_config` of \
             `http_handler` \
             instead",
        ),
    }
}

/// A function of the ABI that is imported from the wrong module.
fn misplaced(module: &str, name: &str, kind: Kind) -> Option<String> {
    if module.starts_with("wasi:") {
        return None;
    }
    if nearest(module, [HANDLER]).is_some() {
        return Some(format!(
            "the module's name must be exactly `{HANDLER}`: correct the import's declaration"
        ));
    }
    // C's logarithm has the same name.
    let logarithm = name == "log" && kind != Kind::Function(3);
    let right = if signatures::handler(name).is_some() && !logarithm {
        HANDLER
    } else if module == "env" && signatures::wasi(name).is_some() {
        WASI
    } else {
        return None;
    };
    Some(format!(
        "`{name}` is a function of module `{right}`: name the module where it is declared (Rust \
         `#[link(wasm_import_module = \"{right}\")]`, Go and TinyGo `//go:wasmimport {right} {name}`, C and C++ \
         `__attribute__((import_module(\"{right}\"), import_name(\"{name}\")))`, Zig `extern \"{right}\" fn {name}`, \
         AssemblyScript `@external(\"{right}\", \"{name}\")`)"
    ))
}

/// Identifies guests written for other hosts.
fn platform(module: &str, name: &str) -> Option<&'static str> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| module.starts_with(prefix));
    Some(if module == "env" && name.starts_with("proxy_") {
        PROXY_WASM
    } else if module.starts_with("extism:") || name.starts_with("extism_") {
        "this is an Extism plug-in, which uses another ABI: build without the Extism PDK"
    } else if starts(&["fastly_", "fastly:", "compute-at-edge"]) {
        "this is a guest for Fastly Compute, which uses another ABI: build without the Fastly SDK"
    } else if starts(&["spin", "fermyon:", "wasi-outbound-http", "outbound-redis"]) {
        "this is a guest for Spin, which uses another ABI: build without the Spin SDK"
    } else if module == "wapc" || name == "__host_call" {
        WAPC
    } else if starts(&["lunatic::", "ic0", "seal0", "seal1", "vm_hooks", "shopify_", "dylibso:"]) {
        "this guest was written for another platform's ABI: build without that platform's SDK"
    } else {
        return None;
    })
}

/// Identifies what compilers and binding generators import for their own use.
fn toolchain(module: &str, name: &str) -> Option<&'static str> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| module.starts_with(prefix));
    let bindgen = |s: &str| s.starts_with("__wbindgen_") || s.starts_with("__wbg_");
    Some(
        if module == "wbg"
            || bindgen(module)
            || bindgen(name)
            || (module.starts_with("./") && module.ends_with("_bg.js"))
        {
            "wasm-bindgen generated this for a JavaScript host: build with plain `cargo build`, and without crates or \
             features that use it (`cargo tree -i wasm-bindgen` finds them: `js-sys`, `web-sys`, often feature `js` of \
             `getrandom` or `uuid`, or `wasmbind` of `chrono`); with target `wasm32-wasip1` most crates need none"
        } else if matches!(module, "gojs" | "go")
            || (module == "env" && (name.starts_with("syscall/js.") || name.starts_with("runtime.")))
        {
            "the guest was built for a JavaScript host: use `GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared` (Go \
             1.24 or newer), or `tinygo build -target=wasip1 -buildmode=c-shared`"
        } else if module == "wasi_unstable" {
            "this is WASI preview 0 (2019): build with a current toolchain, whose imports are named \
             `wasi_snapshot_preview1`"
        } else if starts(&["wasix_"]) {
            "this is WASIX, which only Wasmer supports: build for `wasm32-wasip1` (`cargo build`, not `cargo \
             wasix build`; wasi-sdk, not \
         wasixcc)"
        } else if module == "wasi" && name == "thread-spawn" {
            "a guest runs on one thread: build without threads (`wasm32-wasip1`, not `wasm32-wasip1-threads`)"
        } else if starts(&["wasi_ephemeral_", "wasi_experimental_", "wasi_nn", "wasi_http", "wasi_crypto"]) {
            "this is a WASI proposal that http-wasm hosts don't offer: build without the library that uses it"
        } else if module.starts_with("wasm:") {
            "these are JavaScript's string built-ins (Kotlin, Dart, Java and others, compiled for browsers): choose \
             the compiler's WASI target, or another language"
        } else if component(module) || component(name) {
            // The module is the core of a component, or was meant to be wrapped into one.
            return Some(COMPONENT.as_str());
        } else if module.len() == 1 && name.len() <= 2 {
            MINIFIED
        } else if matches!(module, "asm2wasm" | "global" | "global.Math") {
            "this was built for JavaScript by an old version of Emscripten: use a current version with \
             `-sSTANDALONE_WASM --no-entry`, or wasi-sdk"
        } else {
            return None;
        },
    )
}

static COMPONENT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    format!("this import belongs to the component model (WASI 0.2 or later); {BUILD_CORE}")
});

fn component(name: &str) -> bool {
    name.starts_with("wasi:")
        || name.starts_with("wasi_snapshot_preview2")
        || name.starts_with("cm32p2")
        || name.starts_with("[export]")
        || matches!(name, "$root" | "__main_module__")
        || (name.contains(':') && name.contains('/'))
}

const EMSCRIPTEN: &str = "this is part of Emscripten's JavaScript glue: link with `emcc -sSTANDALONE_WASM --no-entry` \
     and without features that need JavaScript, or build with wasi-sdk";

const WASI_SHIM: &str = "AssemblyScript asks a JavaScript host for this: extend the configuration of \
                         `@assemblyscript/wasi-shim`, or remove \
     the call (`log` of `http_handler` writes log lines)";

/// Compilers import functions without a module name from `env`.
fn env(name: &str, kind: Kind) -> &'static str {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    match name {
        "abort" if kind == Kind::Function(4) => {
            "AssemblyScript calls this when an assertion fails: compile with `--use abort=` to trap instead, or with \
             `--use abort=assembly/index/myAbort` to handle it in a function of your own"
        }
        "seed" => {
            "AssemblyScript seeds `Math.random` with this: extend the configuration of `@assemblyscript/wasi-shim`, or \
             compile with `--use seed=assembly/index/mySeed`, a function of your own"
        }
        "trace" => {
            "this is AssemblyScript's `trace`: remove the calls, or compile with `--use trace=assembly/index/myTrace`, \
             a function of your own that calls `log` of `http_handler`"
        }
        "emscripten_notify_memory_growth" => {
            "Emscripten notifies JavaScript of memory growth with this: define an empty \
             `emscripten_notify_memory_growth` in the guest, link \
             without `-sALLOW_MEMORY_GROWTH`, or build with wasi-sdk"
        }
        "memcpy" | "memmove" | "memset" | "memcmp" | "strlen" | "malloc" | "free" | "calloc" | "realloc"
        | "printf" | "puts" => {
            "no C library was linked: build with wasi-sdk (or clang with wasi-libc), or define this function in the \
             guest"
        }
        _ if starts(&["invoke_", "__cxa_", "_Unwind_", "__resumeException", "llvm_eh_"]) => {
            "C++ exceptions need a runtime that isn't linked: build with `-fno-exceptions`, or link `-lc++abi` and \
             `-lunwind`"
        }
        _ if starts(&[
            "emscripten_",
            "_emscripten_",
            "_emval_",
            "_embind_",
            "__syscall_",
            "_abort_js",
            "_mmap_js",
            "_munmap_js",
            "_tzset_js",
        ]) =>
        {
            EMSCRIPTEN
        }
        _ if starts(&["console.", "Date.", "performance.", "crypto.", "process.", "Math."]) => WASI_SHIM,
        // TinyGo names a function without a body after its package.
        _ if name.contains('.') => {
            "TinyGo leaves a Go function undefined when it doesn't support it: avoid the package that the name starts \
             with (`net/http` is one), use a newer TinyGo, or build with Go (`GOOS=wasip1 GOARCH=wasm go build \
             -buildmode=c-shared`)"
        }
        _ => {
            "the guest's code calls this function, but nothing defines it: link the library it comes from, \
             and link without `--allow-undefined`/`--import-undefined` so that the linker reports it; the \
             only host functions are those of `http_handler` and `wasi_snapshot_preview1`"
        }
    }
}

/// Why a name isn't a function of `http_handler` or WASI, if it is imported from one of these modules.
pub(super) fn unknown_function(module: &str, name: &str) -> String {
    if module == WASI && name.starts_with("sock_") {
        return "this is a socket extension of WasmEdge, WAMR or Wasmer, not part of WASI preview 1: a guest \
             can't open sockets; let another service provide what it needs, in a header for example, and \
             build without the library that opens them (in Rust `wasmedge_wasi_socket` and crates patched to \
             use it, in Go `github.com/stealthrocket/net` or `github.com/dispatchrun/net`)"
            .into();
    }
    let candidate = if module == HANDLER {
        nearest(name, signatures::handler_names())
    } else {
        nearest(name, signatures::wasi_names())
    };
    match candidate {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if module == HANDLER => format!(
            "the functions of `{HANDLER}` are {}",
            signatures::handler_names().collect::<Vec<_>>().join(", ")
        ),
        None => "it may belong to a runtime-specific extension or to a newer version of WASI: build for \
             `wasm32-wasip1`"
            .into(),
    }
}
