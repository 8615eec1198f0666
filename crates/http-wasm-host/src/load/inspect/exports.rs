//! Checks a guest's exports.

use wasmparser::types::{EntityType, TypesRef};

use super::causes;
use super::format::BUILD_CORE;
use super::producers::Producer;
use super::signatures::{Signature, describe, func_type};
use crate::choice::nearest;
use crate::fault::{Fault, Faults, shown};

/// The results of the checks.
#[derive(Debug, Default)]
pub(super) struct Exports {
    pub(super) initialize: bool,
    pub(super) start: bool,
    /// The initial and maximum size of the exported memory, in pages.
    pub(super) memory: (u64, Option<u64>),
}

pub(super) const HANDLE_REQUEST: &str = "handle_request";
pub(super) const HANDLE_RESPONSE: &str = "handle_response";

/// Checks that each export of the ABI exists and has the right type.
pub(super) fn check(types: TypesRef<'_>, producers: &[Producer], faults: &mut Faults) -> Exports {
    let check = Check { types, producers };
    let memory = check.memory().unwrap_or_else(|fault| {
        faults.push(fault);
        (0, None)
    });
    if check.find(HANDLE_REQUEST).is_none()
        && let Some(fault) = check.other_platform()
    {
        // Its handlers have other names and signatures, so four more faults would only distract.
        faults.push(fault);
        return Exports::default();
    }
    let mut function = |name, signature, required| match check.function(name, &signature) {
        Some(Ok(())) => true,
        Some(Err(fault)) => {
            faults.push(fault);
            false
        }
        None => {
            if required {
                faults.push(check.missing(name, &signature));
            }
            false
        }
    };
    function(HANDLE_REQUEST, Signature::new("", "l"), true);
    function(HANDLE_RESPONSE, Signature::new("ii", ""), true);
    let initialize = function("_initialize", Signature::new("", ""), false);
    let start = function("_start", Signature::new("", ""), false);
    Exports { initialize, start, memory }
}

struct Check<'a> {
    types: TypesRef<'a>,
    producers: &'a [Producer],
}

impl<'a> Check<'a> {
    fn exports(&self) -> impl Iterator<Item = (&'a str, EntityType)> {
        self.types.core_exports().into_iter().flatten()
    }

    fn find(&self, name: &str) -> Option<EntityType> {
        self.exports().find(|export| export.0 == name).map(|export| export.1)
    }

    fn memory(&self) -> Result<(u64, Option<u64>), Fault> {
        match self.find("memory") {
            Some(EntityType::Memory(ty)) if ty.memory64 => Err(Fault::new(
                "the exported memory `memory` has 64-bit addresses",
                "http-wasm passes 32-bit addresses: build for wasm32, not wasm64",
            )),
            Some(EntityType::Memory(ty)) if ty.shared => Err(Fault::new(
                "the exported memory `memory` is shared between threads",
                "a guest runs on one thread: build without threads (no `-pthread`, no `--shared-memory`, no \
                 `+atomics`)",
            )),
            Some(EntityType::Memory(ty)) => Ok((ty.initial, ty.maximum)),
            Some(other) => Err(Fault::new(
                format!("the export `memory` is a {}, not a memory", kind(other)),
                "export the guest's linear memory under this name, and rename the other export",
            )),
            None => {
                let is_memory = |export: &(&str, EntityType)| matches!(export.1, EntityType::Memory(_));
                if let Some((name, _)) = self.exports().find(is_memory) {
                    return Err(Fault::new(
                        format!(
                            "the export `memory` (a memory) is missing, but a memory is exported as `{}`",
                            shown(name)
                        ),
                        "export it under the name `memory`",
                    ));
                }
                Err(Fault::new(
                    "the export `memory` (a memory) is missing",
                    "compilers export it by default: don't pass `--noExportMemory` to AssemblyScript, and \
                     pass `--export-memory` to wasm-ld or Zig if you pass `--import-memory`; in WebAssembly \
                     text, write `(memory (export \"memory\") 1)`",
                ))
            }
        }
    }

    /// Checks the exported function with this name. Returns `None` if there is none.
    fn function(&self, name: &str, expected: &Signature) -> Option<Result<(), Fault>> {
        let entity = self.find(name)?;
        let Some(found) = func_type(self.types, entity) else {
            let what = format!("the export `{name}` is a {}, not a function", kind(entity));
            return Some(Err(Fault::new(
                what,
                format!("export a function with the signature {expected} under this name"),
            )));
        };
        if expected.matches(found) {
            return Some(Ok(()));
        }
        let what =
            format!("the export `{name}` has the signature {}, but {expected} is expected", describe(found));
        Some(Err(Fault::new(what, signature_help(name))))
    }

    fn missing(&self, name: &str, expected: &Signature) -> Fault {
        let what = format!("the export `{name}` (a function {expected}) is missing");
        let functions = || {
            self.exports().filter(|export| func_type(self.types, export.1).is_some()).map(|export| export.0)
        };
        // Rust's mangled names contain the plain name: `_ZN5guest14handle_request17h…E`.
        let similar = functions()
            .find(|found| found.len() <= 120 && found.contains(name))
            .or_else(|| nearest(name, functions()));
        match similar {
            Some(found) => {
                let found = shown(found);
                Fault::new(what, format!("`{found}` is exported: rename it; {}", self.how_to_export(name)))
            }
            None => Fault::new(what, self.how_to_export(name)),
        }
    }

    /// How to export a function in the guest's language, if the module shows it.
    fn how_to_export(&self, name: &str) -> String {
        let attribute = match name {
            HANDLE_REQUEST => "extern \"C\" fn handle_request() -> i64",
            _ => "extern \"C\" fn handle_response(req_ctx: i32, is_error: i32)",
        };
        let rust = format!("Rust: `#[unsafe(no_mangle)] pub {attribute}` in a crate of type `cdylib`");
        let go = format!("Go and TinyGo: `//go:wasmexport {name}`, built with `-buildmode=c-shared`");
        let language =
            |language: &str| self.producers.iter().any(|p| p.field == "language" && p.name == language);
        if language("Rust") {
            format!("in {rust}")
        } else if let Some(version) = self.producers.iter().find_map(old_go) {
            format!("Go {version} can't export functions: update to Go 1.24 or later; in {go}")
        } else if language("Go") {
            format!("in {go}")
        } else {
            // Other compilers record the language of their C runtime, so this proves nothing.
            format!(
                "export it ({rust}; {go}; C and C++: `__attribute__((export_name(\"{name}\")))`, in C++ also `extern \
                 \"C\"`; Zig: `export fn {name}`, built with `-fno-entry -rdynamic`; AssemblyScript: `export function \
                 {name}`)"
            )
        }
    }

    /// Exports for another platform are a better explanation than missing ones.
    fn other_platform(&self) -> Option<Fault> {
        self.exports().find_map(|(name, _)| {
            let (_, help) = OTHER_PLATFORMS.iter().find(|(is_theirs, _)| is_theirs(name))?;
            let found = shown(name);
            let what = format!(
                "the exports `{HANDLE_REQUEST}` and `{HANDLE_RESPONSE}` are missing, \
                 but `{found}` is exported"
            );
            Some(Fault::new(what, *help))
        })
    }
}

/// The Go version, if it can't export functions.
fn old_go(producer: &Producer) -> Option<&str> {
    let version = producer.version.strip_prefix("go").filter(|_| producer.name == "Go")?;
    let digits = version.strip_prefix("1.")?.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().is_ok_and(|minor: u32| minor < 24).then_some(version)
}

type IsOwnExport = fn(&str) -> bool;

const OTHER_PLATFORMS: &[(IsOwnExport, &str)] = &[
    (|name| name.starts_with("proxy_abi_version_") || name.starts_with("proxy_on_"), causes::PROXY_WASM),
    (|name| name == "cabi_realloc" || name.starts_with("cm32p2") || name.contains("wasi:"), BUILD_CORE),
    (|name| matches!(name, "__guest_call" | "wapc_init"), causes::WAPC),
];

fn signature_help(name: &str) -> &'static str {
    match name {
        HANDLE_REQUEST => {
            "return one 64-bit integer whose low 32 bits decide whether to proceed and whose high 32 bits \
             are `req_ctx`"
        }
        HANDLE_RESPONSE => "take `req_ctx` and `is_error` as 32-bit integers and return nothing",
        _ => {
            "the host calls it once for each instance, without arguments: change its signature, or don't \
             export it"
        }
    }
}

fn kind(entity: EntityType) -> &'static str {
    match entity {
        EntityType::Func(_) | EntityType::FuncExact(_) => "function",
        EntityType::Memory(_) => "memory",
        EntityType::Table(_) => "table",
        EntityType::Global(_) => "global",
        EntityType::Tag(_) => "tag",
    }
}
