//! Links a module with the host functions that it may call.

use wasmtime::{
    Engine, Extern, Instance, InstancePre, Linker, Memory, Module, ModuleExport, Store, TypedFunc,
};

use crate::host::Host;
use crate::run::hostcalls;
use crate::run::shared::Shared;
use crate::run::state::State;
use crate::run::wasi::{self, WasiConfig};

/// A module that is ready to be instantiated, on the engine that it was compiled for.
pub(crate) struct Linked<H: Host> {
    pub(crate) pre: InstancePre<State<H>>,
    memory: ModuleExport,
    handle_request: ModuleExport,
    handle_response: ModuleExport,
}

/// The exports of an instance that the host uses.
pub(crate) struct Exports {
    pub(crate) memory: Memory,
    pub(crate) handle_request: TypedFunc<(), u64>,
    pub(crate) handle_response: TypedFunc<(u32, u32), ()>,
}

impl<H: Host> Linked<H> {
    /// # Errors
    /// If an import or export of `module` has the wrong type.
    pub(crate) fn new(module: &Module, wasi: &WasiConfig, shared: &Shared) -> wasmtime::Result<Self> {
        let place = |name| module.get_export_index(name).ok_or_else(|| missing(name));
        Ok(Self {
            pre: linker(module.engine(), wasi, shared)?.instantiate_pre(module)?,
            memory: place("memory")?,
            handle_request: place("handle_request")?,
            handle_response: place("handle_response")?,
        })
    }

    /// The exports of an instance of this module. They are found without looking up their names.
    pub(crate) fn exports(
        &self,
        store: &mut Store<State<H>>,
        instance: &Instance,
    ) -> wasmtime::Result<Exports> {
        let mut export =
            |place, name| instance.get_module_export(&mut *store, place).ok_or_else(|| missing(name));
        let memory = export(&self.memory, "memory")?;
        let handle_request = export(&self.handle_request, "handle_request")?;
        let handle_response = export(&self.handle_response, "handle_response")?;
        let function = |export: Extern, name| export.into_func().ok_or_else(|| missing(name));
        Ok(Exports {
            memory: memory.into_memory().ok_or_else(|| missing("memory"))?,
            handle_request: function(handle_request, "handle_request")?.typed(&mut *store)?,
            handle_response: function(handle_response, "handle_response")?.typed(&mut *store)?,
        })
    }
}

/// Modules without the export are rejected before they are compiled.
fn missing(name: &str) -> wasmtime::Error {
    wasmtime::format_err!("the export `{name}` is missing")
}

/// A linker with all host functions.
pub(crate) fn linker<H: Host>(
    engine: &Engine,
    wasi: &WasiConfig,
    shared: &Shared,
) -> wasmtime::Result<Linker<State<H>>> {
    let mut linker = Linker::<State<H>>::new(engine);
    add_hostcalls(&mut linker, shared)?;
    wasi::add_to_linker(&mut linker, wasi, shared.hook.is_some())?;
    Ok(linker)
}

fn add_hostcalls<H: Host>(linker: &mut Linker<State<H>>, shared: &Shared) -> wasmtime::Result<()> {
    #[cfg(feature = "mutations")]
    if let Some(intercept) = &shared.intercept {
        return hostcalls::add_intercepted(linker, intercept, shared.pauses_writes);
    }
    match &shared.hook {
        Some(hook) => hostcalls::add_to_linker(linker, hook.clone(), shared.pauses_writes),
        None => hostcalls::add_to_linker(linker, (), shared.pauses_writes),
    }
}
