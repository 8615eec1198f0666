//! Joins a module with the host functions that it may call.

use wasmtime::{Engine, InstancePre, Linker, Module};

use crate::host::Host;
use crate::hostcalls;
use crate::state::{Shared, State};
use crate::wasi::{self, WasiConfig};

/// `module`, ready to be instantiated on the engine that it was compiled for.
pub(crate) fn link<H: Host>(
    module: &Module,
    wasi: &WasiConfig,
    shared: &Shared,
) -> wasmtime::Result<InstancePre<State<H>>> {
    linker(module.engine(), wasi, shared)?.instantiate_pre(module)
}

/// All host functions.
pub(crate) fn linker<H: Host>(
    engine: &Engine,
    wasi: &WasiConfig,
    shared: &Shared,
) -> wasmtime::Result<Linker<State<H>>> {
    let mut linker = Linker::<State<H>>::new(engine);
    match &shared.on_host_call {
        Some(hook) => hostcalls::add_to_linker(&mut linker, hook.clone()),
        None => hostcalls::add_to_linker(&mut linker, ()),
    }?;
    wasi::add_to_linker(&mut linker, wasi)?;
    #[cfg(feature = "mutations")]
    if let Some(mutation) = shared.mutation {
        hostcalls::broken::replace_imports(&mut linker, mutation)?;
    }
    Ok(linker)
}
