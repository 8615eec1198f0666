//! Creates snapshots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmparser::{Parser, Payload};
use wasmtime::{InstancePre, Module, Store, Val};
use wasmtime_wizer::{InstanceState, ModuleContext, SnapshotVal, ValType, Wizer};

use super::gate::{self, Refusal};
use super::key::key;
use super::{Snapshot, segments};
use crate::abi::Features;
use crate::engine::{self, Image, SnapshotFacts, block_on};
use crate::error::LoadError;
use crate::host::Host;
use crate::load::startup::Startup;
use crate::run::link::linker;
use crate::run::shared::Shared;
use crate::run::state::State;
use crate::run::suspend::Mode;
use crate::symbols::Backtrace;

/// Returns the snapshot of the guest `wasm` as started by `startup`: from the engine's cache, or a new one.
///
/// # Errors
/// If the module is invalid, its start-up fails, or it can't be snapshotted.
pub(crate) fn image<H: Host>(
    wasm: &[u8],
    snapshot: Snapshot,
    startup: &Startup,
) -> Result<Arc<Image>, LoadError> {
    let Shared { config, limits, .. } = &*startup.shared;
    let key = key(wasm, snapshot, config, &startup.wasi, limits);
    startup.shared.engine.image(key, || Source { wasm, snapshot, startup }.make::<H>())
}

/// The guest to create a snapshot of.
struct Source<'a> {
    /// The module as it would be compiled without a snapshot.
    wasm: &'a [u8],
    snapshot: Snapshot,
    startup: &'a Startup,
}

impl Source<'_> {
    fn make<H: Host>(&self) -> Result<Image, LoadError> {
        let Startup { shared, wasi, .. } = self.startup;
        let engine = &shared.engine;
        // The rewriter relies on these checks.
        Module::validate(engine.wasm(), self.wasm).map_err(|error| self.invalid(&error))?;
        check_layout(self.wasm).map_err(|reason| self.refused(reason))?;
        let wasm = segments::merge(self.wasm).map_err(|reason| self.refused(reason))?;
        let mut wizer = Wizer::new();
        // The rewriter removes this function, and `_initialize` too.
        wizer.init_func("_start");
        let (context, readable) = wizer
            .instrument(&wasm)
            .map_err(|error| self.refused(format!("its state can't be exported: {error:#}")))?;

        let failed = |reason| LoadError::Compile { guest: shared.name.clone(), reason };
        let code = engine.code_without_slots(&readable).map_err(failed)?;
        let module = &code.module;
        let pre = linker::<H>(engine.wasm(), wasi, shared)
            .and_then(|mut linker| {
                gate::close(&mut linker, module, self.snapshot, wasi)?;
                linker.instantiate_pre(module)
            })
            .map_err(|error| self.invalid(&error))?;
        let run = block_on(self.run(&pre, &wizer, &context))?;
        // The code contains the configuration, the environment and the seed.
        let code = engine.code(&run.wasm, engine::Source::Private, &shared.limits).map_err(failed)?;
        let facts = SnapshotFacts { start_time: run.start_time, module_bytes: run.wasm.len() };
        Ok(Image { code, features: run.features, clock: run.clock, facts })
    }

    fn invalid(&self, error: &wasmtime::Error) -> LoadError {
        LoadError::Compile { guest: self.startup.shared.name.clone(), reason: format!("{error:#}") }
    }

    fn refused(&self, reason: String) -> LoadError {
        LoadError::Snapshot { guest: self.startup.shared.name.clone(), reason, backtrace: None }
    }

    async fn run<H: Host>(
        &self,
        pre: &InstancePre<State<H>>,
        wizer: &Wizer,
        context: &ModuleContext<'_>,
    ) -> Result<Run, LoadError> {
        // The instance isn't counted, because it is dropped before the guest has another one.
        let store = self.startup.store::<H>(pre.module().engine(), &Arc::default(), false).await;
        let mut store = store.map_err(|error| LoadError::start(self.startup.failed(&error)))?;
        let began = Instant::now();
        let started = self.startup.start(&mut store, pre, Mode::Fiber).await;
        store.data_mut().flush_output();
        let instance = started.map_err(|error| self.failed(store.data(), &error))?;
        let start_time = began.elapsed();
        let read = wizer.snapshot(context, &mut Started { store: &mut store, instance }).await;
        let wasm = read.map_err(|error| LoadError::start(self.startup.failed(&error)))?;
        let state = store.data();
        Ok(Run { wasm, features: state.features, clock: state.wasi.clock(), start_time })
    }

    fn failed<H: Host>(&self, state: &State<H>, error: &wasmtime::Error) -> LoadError {
        match error.downcast_ref::<Refusal>() {
            Some(refusal) => LoadError::Snapshot {
                guest: self.startup.shared.name.clone(),
                reason: refusal.to_string(),
                backtrace: Backtrace::of(error, &self.startup.shared.symbols).map(|mut backtrace| {
                    backtrace.locate();
                    backtrace.text().to_owned()
                }),
            },
            None => LoadError::start(state.failed(None, error)),
        }
    }
}

/// Checks that the `name` section comes last: the rewriter keeps the order of sections, but writes the data before the
/// names.
fn check_layout(wasm: &[u8]) -> Result<(), String> {
    let mut named = false;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(|error| error.to_string())? {
            Payload::CustomSection(section) => named |= section.name() == "name",
            Payload::End(_) => break,
            payload if named && payload.as_section().is_some() => {
                return Err(
                    "the module's `name` section comes before other sections instead of at the end".into()
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// The state after the start-up.
struct Run {
    wasm: Vec<u8>,
    features: Features,
    clock: Duration,
    start_time: Duration,
}

/// An instance whose state is read. The rewriter has exported the whole state, and reads nothing else.
struct Started<'a, H: Host> {
    store: &'a mut Store<State<H>>,
    instance: wasmtime::Instance,
}

impl<H: Host> InstanceState for Started<'_, H> {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global =
            self.instance.get_global(&mut *self.store, name).expect("each mutable global is exported");
        match global.get(&mut *self.store) {
            Val::I32(value) => SnapshotVal::I32(value),
            Val::I64(value) => SnapshotVal::I64(value),
            Val::F32(bits) => SnapshotVal::F32(bits),
            Val::F64(bits) => SnapshotVal::F64(bits),
            Val::V128(value) => SnapshotVal::V128(value.as_u128()),
            _ => unreachable!("modules with mutable globals that hold references are refused"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut *self.store, name).expect("each memory is exported");
        contents(memory.data(&self.store));
    }
}
