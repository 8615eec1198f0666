//! Inspects a guest before it is compiled: what it imports and exports, and what is wrong with it.
//!
//! A guest that can't run is rejected here, with all faults at once and messages that name the cause. Compilation then
//! only fails for invalid function bodies and unsupported features.

mod causes;
mod exports;
mod format;
mod graph;
mod imports;
pub(crate) mod lint;
mod producers;
mod reach;
pub(crate) mod shim;
mod signatures;
#[cfg(test)]
mod tests;

use wasmparser::types::Types;
use wasmparser::{ExternalKind, Imports, Parser, Payload, ValidPayload, Validator, WasmFeatures};

pub use imports::ImportUse;
pub use producers::Producer;
pub(crate) use signatures::{HANDLER, WASI};

use crate::abi::Phase;
use crate::fault::{Fault, Faults, shown};
use graph::Graph;
use lint::LintFacts;
use reach::ExportReach;

/// Reads a guest, a binary module or WebAssembly text, and checks it against the http-wasm ABI.
///
/// # Errors
///
/// All faults that were found, at least one. A file that isn't a core module has only that fault.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspection, Vec<Fault>> {
    let wasm = format::to_binary(bytes).map_err(|fault| vec![fault])?;
    let Outline { types, producers, has_start_function, declares_stream } =
        outline(&wasm).map_err(|fault| vec![fault])?;
    let mut faults = Faults::default();
    let exports = exports::check(types.as_ref(), &producers, &mut faults);
    let imports = imports::check(types.as_ref(), &mut faults);
    faults.into_result()?;
    let read = read_code(&wasm, &producers).unwrap_or_else(|error| Err(malformed(&error, &wasm)));
    let (request, response, lint_facts) = read.map_err(|fault| vec![fault])?;
    Ok(Inspection {
        imports,
        request,
        response,
        lint_facts,
        producers,
        has_start_function,
        declares_stream,
        exports_initialize: exports.initialize,
        exports_start: exports.start,
        memory_pages: exports.memory,
        wasm,
    })
}

type Code = (ExportReach, ExportReach, LintFacts);

fn read_code(wasm: &[u8], producers: &[Producer]) -> wasmparser::Result<Result<Code, Fault>> {
    let graph = Graph::read(wasm)?;
    if graph.uses_legacy_exceptions {
        return Ok(Err(Fault::new(
            "the module uses the legacy form of exception handling",
            LEGACY_EXCEPTIONS,
        )));
    }
    let [request, response] =
        [exports::HANDLE_REQUEST, exports::HANDLE_RESPONSE].map(|export| ExportReach::of(&graph, export));
    Ok(Ok((request?, response?, LintFacts::of(&graph, producers)?)))
}

/// What is known about a valid guest before it is compiled.
#[derive(Debug, Clone)]
pub struct Inspection {
    wasm: Vec<u8>,
    imports: Vec<ImportUse>,
    request: ExportReach,
    response: ExportReach,
    lint_facts: LintFacts,
    producers: Vec<Producer>,
    has_start_function: bool,
    declares_stream: bool,
    exports_initialize: bool,
    exports_start: bool,
    memory_pages: (u64, Option<u64>),
}

impl Inspection {
    /// Takes the module, which is no longer needed once it is compiled.
    pub(crate) fn take_wasm(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.wasm)
    }

    /// Returns the host functions that the guest imports, each once, in the module's order.
    pub fn imports(&self) -> &[ImportUse] {
        &self.imports
    }

    /// Returns whether the guest imports this function of `http_handler`.
    pub fn imports_handler(&self, name: &str) -> bool {
        self.uses(HANDLER, name)
    }

    /// Whether the guest's function for `phase` may call this function of `http_handler`.
    pub(crate) fn reaches_handler(&self, phase: Phase, name: &str) -> bool {
        self.reaches(phase, HANDLER, name)
    }

    /// Whether the guest's function for `phase` may call this function of `wasi_snapshot_preview1`.
    pub(crate) fn reaches_wasi(&self, phase: Phase, name: &str) -> bool {
        self.reaches(phase, WASI, name)
    }

    /// Whether the guest's `handle_response` does nothing at all.
    pub(crate) fn ignores_responses(&self) -> bool {
        self.response.is_empty
    }

    /// Whether each call of the guest's function for `phase` ends after few instructions, whatever it is given.
    pub(crate) fn is_brief(&self, phase: Phase) -> bool {
        self.reach(phase).is_brief
    }

    /// What may be wrong with the guest's build.
    pub(crate) fn lint_facts(&self) -> &LintFacts {
        &self.lint_facts
    }

    /// Returns whether the guest imports this function of `wasi_snapshot_preview1`.
    pub fn imports_wasi(&self, name: &str) -> bool {
        self.uses(WASI, name)
    }

    /// Returns whether the guest imports any function of `wasi_snapshot_preview1`.
    pub fn needs_wasi(&self) -> bool {
        self.imports.iter().any(|import| import.module == WASI)
    }

    /// Returns whether the module has a start section, which runs when it is instantiated.
    pub fn has_start_function(&self) -> bool {
        self.has_start_function
    }

    /// Returns whether the guest declares that it can rewrite bodies while they stream: by a custom section
    /// `http-wasm-stream`, whose content doesn't matter. See [`Stream`](crate::Stream).
    pub fn declares_stream(&self) -> bool {
        self.declares_stream
    }

    /// Returns whether the guest exports `_initialize`, as a WASI reactor does.
    pub fn exports_initialize(&self) -> bool {
        self.exports_initialize
    }

    /// Returns whether the guest exports `_start`, as a WASI command does.
    pub fn exports_start(&self) -> bool {
        self.exports_start
    }

    /// Returns the initial size of the exported memory, in pages of 64 KiB.
    pub fn initial_memory_pages(&self) -> u64 {
        self.memory_pages.0
    }

    /// Returns the maximum size of the exported memory, in pages of 64 KiB, if the module sets one.
    pub fn maximum_memory_pages(&self) -> Option<u64> {
        self.memory_pages.1
    }

    /// Returns what the module says it was built with: languages, compilers and SDKs, with their versions.
    ///
    /// Don't rely on it: many tools record nothing, and linked C code is recorded next to the guest's own language.
    pub fn producers(&self) -> &[Producer] {
        &self.producers
    }

    fn reach(&self, phase: Phase) -> &ExportReach {
        match phase {
            Phase::Request => &self.request,
            Phase::Response => &self.response,
        }
    }

    fn reaches(&self, phase: Phase, module: &str, name: &str) -> bool {
        self.reach(phase).imports.iter().any(|import| import.module == module && import.name == name)
    }

    fn uses(&self, module: &str, name: &str) -> bool {
        self.imports.iter().any(|import| import.module == module && import.name == name)
    }
}

/// Everything in a module except its code.
struct Outline {
    types: Types,
    producers: Vec<Producer>,
    has_start_function: bool,
    declares_stream: bool,
}

/// The custom section of a guest that can rewrite bodies while they stream.
const STREAM_SECTION: &str = "http-wasm-stream";

fn outline(wasm: &[u8]) -> Result<Outline, Fault> {
    // The engine decides which features are allowed, so no guest is rejected for one here.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut producers = Vec::new();
    let (mut has_start_function, mut exports_memory, mut is_relocatable) = (false, false, false);
    let mut declares_stream = false;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|error| malformed(&error, wasm))?;
        // Function bodies aren't checked here, since the compiler validates them anyway.
        let checked = validator.payload(&payload).map_err(|error| malformed(&error, wasm))?;
        match payload {
            Payload::StartSection { .. } => has_start_function = true,
            Payload::ImportSection(imports) => {
                for import in imports {
                    if !matches!(import, Ok(Imports::Single(..))) {
                        return Err(Fault::new(
                            "the imports are encoded as in the `compact-imports` proposal",
                            COMPACT,
                        ));
                    }
                }
            }
            Payload::ExportSection(exports) => {
                let mut exports = exports.into_iter().map_while(Result::ok);
                exports_memory |= exports.any(|export| export.kind == ExternalKind::Memory);
            }
            Payload::CustomSection(section) if section.name() == "linking" => is_relocatable = true,
            Payload::CustomSection(section) if section.name() == STREAM_SECTION => declares_stream = true,
            Payload::CustomSection(section) => producers.extend(producers::read(&section)),
            _ => {}
        }
        if let ValidPayload::End(types) = checked {
            // A linked module may keep the section, but exports its memory. An object file may export functions.
            if is_relocatable && !exports_memory {
                return Err(Fault::new("the file is an object file that hasn't been linked", OBJECT_FILE));
            }
            return Ok(Outline { types, producers, has_start_function, declares_stream });
        }
    }
    Err(Fault::new("the module is incomplete", CUT_SHORT))
}

const COMPACT: &str = "the engine doesn't support it: name the features that the guest needs instead of \
     using `wasm-opt --all-features`, or add `--disable-compact-imports`";

const OBJECT_FILE: &str = "link it with wasm-ld, or build without `-c` (clang, zig) or `--emit obj` (rustc)";

const LEGACY_EXCEPTIONS: &str = "translate them with `wasm-opt -all --disable-compact-imports \
     --translate-to-exnref`, or build with `-mllvm -wasm-use-legacy-eh=false` or without exceptions";

const TOO_MANY_SEGMENTS: &str = "Wizer splits memory into this many: load the original module, and let the \
     host initialise it once for all its instances (`--snapshot`, or `snapshot = true` in a configuration)";

const CUT_SHORT: &str = "it seems to be truncated or damaged: copy or build it again";

fn malformed(error: &wasmparser::Error, wasm: &[u8]) -> Fault {
    if error.message().contains("data segments count")
        || error.message().contains("data count section specifies too many")
    {
        return Fault::new(
            "the module has more than the 100,000 data segments that engines accept",
            TOO_MANY_SEGMENTS,
        );
    }
    let (offset, len) = (error.offset(), wasm.len());
    let help = if error.message().contains("unexpected end") {
        CUT_SHORT
    } else {
        "it is damaged, or the tool that wrote it has a bug: build it again, and check it with `wasm-tools \
         validate`"
    };
    Fault::new(
        format!(
            "the module is malformed at byte {offset} ({offset:#x}) of {len}: {}",
            shown(error.message())
        ),
        help,
    )
}
