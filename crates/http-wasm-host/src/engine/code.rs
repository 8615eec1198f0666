//! Compiled code: each module is compiled once for all guests with the same bytes, and runs in both wasmtime engines.

use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, Module};

use super::cache::{CodeCache, Key as EntryKey};
use super::single_flight::SingleFlight;
use super::wasm::Engines;

/// A module's compiled code.
pub(crate) struct Code {
    /// The code for the engine that normally creates the instances.
    pub(crate) module: Module,
    /// The code for bursts beyond the slots. The machine code is the same.
    overflow: Option<Overflow>,
}

struct Overflow {
    engine: Engine,
    module: OnceLock<Result<Module, String>>,
}

impl Code {
    /// The size of the machine code and its metadata, in bytes. Both engines use the same pages.
    pub(crate) fn bytes(&self) -> usize {
        let range = self.module.image_range();
        range.end.addr() - range.start.addr()
    }

    /// The code for instances that find no slot, or `None` if the normal engine needs no slots.
    pub(crate) fn overflow(&self) -> Option<Result<&Module, String>> {
        let overflow = self.overflow.as_ref()?;
        let module = overflow.module.get_or_init(|| {
            let bytes = self.module.serialize().map_err(|e| format!("{e:#}"))?;
            load(&overflow.engine, &bytes).map_err(|e| format!("{e:#}"))
        });
        Some(module.as_ref().map_err(Clone::clone))
    }
}

/// Loads code that this process has compiled, or that the operator trusts.
#[expect(unsafe_code, reason = "the one place where compiled code is loaded that wasmtime didn't just make")]
fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Module> {
    // SAFETY: the bytes come from one of three sources: `Module::serialize`, called by this process a moment ago; the
    // code cache, which holds that function's output with a verified checksum, and to which only users that the
    // operator trusts may write; or a file for which `GuestBuilder::trust_precompiled` was called, whose contract is
    // that it holds such output unchanged.
    unsafe { Module::deserialize(engine, code) }
}

/// The source of a module's code.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Source<'a> {
    /// The code is compiled, or found in the cache on disk.
    Compiler,
    /// The code is compiled, and only kept in memory.
    Private,
    /// The operator trusts these bytes.
    Trusted(&'a [u8]),
}

/// All code in use, by content.
pub(super) struct CompiledModules {
    in_use: SingleFlight<Key, Code>,
    cache: Option<CodeCache>,
}

/// The digest of the bytes, and whether the instances should use slots.
type Key = ([u8; 32], bool);

/// A guest's handle to compiled code.
pub(crate) type SharedCode = Arc<Code>;

impl CompiledModules {
    pub(super) fn new(cache: Option<CodeCache>) -> Self {
        Self { in_use: SingleFlight::default(), cache }
    }

    /// The number of damaged entries in the cache.
    pub(super) fn discarded(&self) -> u64 {
        self.cache.as_ref().map_or(0, CodeCache::discarded)
    }

    /// Returns the code for `wasm`. It is compiled unless it is already in use.
    pub(super) fn get(
        &self,
        engines: &Engines,
        wasm: &[u8],
        source: Source<'_>,
        slots: bool,
    ) -> Result<SharedCode, String> {
        let mut digest = Sha256::new_with_prefix(wasm);
        if let Source::Trusted(code) = source {
            // This keeps trusted code from guests that didn't ask for it.
            digest.update(code);
        }
        let key = (digest.finalize().into(), slots);
        self.in_use.get_or_make(key, || self.make(engines, wasm, source, slots))
    }

    fn make(&self, engines: &Engines, wasm: &[u8], source: Source<'_>, slots: bool) -> Result<Code, String> {
        let cache = self.cache.as_ref().map(|cache| (cache, EntryKey::new(&engines.on_demand, wasm)));
        match (source, cache) {
            (Source::Trusted(code), _) => on_engines(engines, slots, |engine| load(engine, code)),
            (Source::Private, _) | (Source::Compiler, None) => {
                on_engines(engines, slots, |engine| Module::from_binary(engine, wasm))
            }
            (Source::Compiler, Some((cache, key))) => {
                if let Some(code) = cache.get(key)
                    && let Ok(code) = on_engines(engines, slots, |engine| load(engine, &code))
                {
                    return Ok(code);
                }
                let code = on_engines(engines, slots, |engine| Module::from_binary(engine, wasm))?;
                if let Ok(bytes) = code.module.serialize() {
                    cache.put(key, &bytes);
                }
                Ok(code)
            }
        }
    }
}

/// Loads the code for instances in slots if the module fits a slot, otherwise for instances on demand.
fn on_engines(
    engines: &Engines,
    slots: bool,
    module: impl Fn(&Engine) -> wasmtime::Result<Module>,
) -> Result<Code, String> {
    if let (Some(engine), true) = (&engines.slots, slots) {
        // A module may need more than a slot provides. The other engine reports any other problem too.
        if let Ok(module) = module(engine) {
            let overflow = Overflow { engine: engines.on_demand.clone(), module: OnceLock::new() };
            return Ok(Code { module, overflow: Some(overflow) });
        }
    }
    let module = module(&engines.on_demand).map_err(|e| format!("{e:#}"))?;
    Ok(Code { module, overflow: None })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::Source;
    use crate::engine::Engine;
    use crate::limits::Limits;

    #[test]
    fn a_guest_uses_slots_exactly_if_it_fits_into_one() {
        let engine = Engine::builder().slots(2).build().unwrap();
        let finds_slots = |items: &str, limits: &Limits| {
            let wasm = wat::parse_str(format!("(module {items})")).unwrap();
            let code = engine.code(&wasm, Source::Compiler, limits).unwrap();
            let overflow = code.overflow();
            overflow.is_some_and(|module| module.is_ok())
        };
        let limits = Limits::default();
        assert!(finds_slots("(memory 1) (table 10 funcref)", &limits));
        assert!(!finds_slots("(memory 1) (memory 1)", &limits));
        assert!(!finds_slots("(table 1 funcref) (table 1 funcref) (table 1 funcref)", &limits));
        assert!(!finds_slots("(table 100001 funcref)", &limits));
        let large_tables = Limits { table_elements: limits.table_elements + 1, ..limits };
        assert!(!finds_slots("(memory 1)", &large_tables));
    }

    #[test]
    fn guests_with_the_same_bytes_loaded_concurrently_are_compiled_once() {
        let engine = Engine::builder().slots(0).build().unwrap();
        let code = |text: &str| {
            let wasm = wat::parse_str(text).unwrap();
            engine.code(&wasm, Source::Compiler, &Limits::default()).unwrap()
        };
        let together = Barrier::new(4);
        let codes = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| {
                scope.spawn(|| {
                    together.wait();
                    code("(module (func))")
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(codes.iter().all(|code| Arc::ptr_eq(code, &codes[0])));
        assert!(!Arc::ptr_eq(&code("(module (func nop))"), &codes[0]));
    }
}
