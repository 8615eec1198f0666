//! Compiled code: compiled once for all guests with the same bytes, and run by both wasmtime engines.

use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, Module};

use super::cache::{CodeCache, Key as EntryKey};
use super::single_flight::SingleFlight;
use super::wasm::Engines;

/// A module's compiled code.
pub(crate) struct Code {
    /// For the engine that normally creates its instances.
    pub(crate) module: Module,
    /// For bursts beyond the slots; the same machine code.
    overflow: Option<Overflow>,
}

struct Overflow {
    engine: Engine,
    module: OnceLock<Result<Module, String>>,
}

impl Code {
    /// Size of the machine code and what belongs to it, in bytes. Both engines run the same pages of it.
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

/// Loads code that this process has compiled itself, or that the operator vouches for.
#[expect(unsafe_code, reason = "the one place where compiled code is loaded that wasmtime didn't just make")]
fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Module> {
    // SAFETY: the bytes come from one of three sources: `Module::serialize`, called by this process a moment ago; the
    // code cache, which holds that function's output with a verified checksum, and to which only users that the
    // operator trusts may write; or a file for which `GuestBuilder::trust_precompiled` was called, whose contract is
    // that it holds such output unchanged.
    unsafe { Module::deserialize(engine, code) }
}

/// Where the code of a module comes from.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Source<'a> {
    /// It is compiled, or found in the cache on disk.
    Compiler,
    /// It is compiled, and stays in memory only.
    Private,
    /// The operator vouches for these bytes.
    Trusted(&'a [u8]),
}

/// All code that is in use, by content.
pub(super) struct CompiledModules {
    in_use: SingleFlight<Key, Code>,
    cache: Option<CodeCache>,
}

/// Digest of the bytes, and whether their instances are to have slots.
type Key = ([u8; 32], bool);

/// A guest's handle on compiled code.
pub(crate) type SharedCode = Arc<Code>;

impl CompiledModules {
    pub(super) fn new(cache: Option<CodeCache>) -> Self {
        Self { in_use: SingleFlight::default(), cache }
    }

    /// Damaged entries of the cache.
    pub(super) fn discarded(&self) -> u64 {
        self.cache.as_ref().map_or(0, CodeCache::discarded)
    }

    /// The code for `wasm`, compiled unless it is already in use.
    pub(super) fn get(
        &self,
        engines: &Engines,
        wasm: &[u8],
        source: Source<'_>,
        slots: bool,
    ) -> Result<SharedCode, String> {
        let mut digest = Sha256::new_with_prefix(wasm);
        if let Source::Trusted(code) = source {
            // Guests that weren't vouched for don't get it.
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

/// The code for instances in slots if it fits a slot, otherwise for instances on demand.
fn on_engines(
    engines: &Engines,
    slots: bool,
    module: impl Fn(&Engine) -> wasmtime::Result<Module>,
) -> Result<Code, String> {
    if let (Some(engine), true) = (&engines.slots, slots) {
        // A module may need more than a slot provides; the other engine reports any other problem as well.
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
