//! Lower bounds: the same guests called directly with wasmtime, without a fiber, and with a cached handle of their
//! memory.

use wasmtime::{
    Caller, Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Memory, Module,
    PoolingAllocationConfig, Store, TypedFunc,
};

use crate::support;

/// The result of minimal host functions.
const TEXT: &[u8; 16] = b"0123456789abcdef";

/// A linked module whose instances are called directly.
pub(crate) struct Raw {
    engine: Engine,
    pre: InstancePre<Option<Memory>>,
}

/// One instance.
pub(crate) struct RawInstance {
    store: Store<Option<Memory>>,
    handle_request: TypedFunc<(), u64>,
    handle_response: TypedFunc<(u32, u32), ()>,
}

impl Raw {
    /// The guest with this `body`, which may import `get_status_code` (returns a number) and `get_uri` (writes 16
    /// bytes).
    pub(crate) fn new(body: &str, allocation: InstanceAllocationStrategy) -> Self {
        let mut config = Config::new();
        config.epoch_interruption(true).allocation_strategy(allocation);
        let engine = Engine::new(&config).expect("an engine");
        let wasm = wat::parse_str(support::module(body)).expect("WAT");
        let module = Module::new(&engine, wasm).expect("a module");
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("http_handler", "get_status_code", |_: Caller<'_, Option<Memory>>| 200u32)
            .expect("a new name");
        linker.func_wrap("http_handler", "get_uri", write_text).expect("a new name");
        let pre = linker.instantiate_pre(&module).expect("all imports are there");
        Self { engine, pre }
    }

    /// Allocates instances on demand.
    pub(crate) fn on_demand(body: &str) -> Self {
        Self::new(body, InstanceAllocationStrategy::OnDemand)
    }

    /// Allocates instances in reserved slots.
    pub(crate) fn pooling(body: &str) -> Self {
        Self::new(body, InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::new()))
    }

    pub(crate) fn instance(&self) -> RawInstance {
        let mut store = Store::new(&self.engine, None);
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.pre.instantiate(&mut store).expect("an instance");
        *store.data_mut() = instance.get_memory(&mut store, "memory");
        let handle_request = instance.get_typed_func(&mut store, "handle_request").expect("exported");
        let handle_response = instance.get_typed_func(&mut store, "handle_response").expect("exported");
        RawInstance { store, handle_request, handle_response }
    }
}

impl RawInstance {
    /// Calls both phases, one after the other.
    pub(crate) fn call(&mut self) {
        let ctx_next = self.handle_request.call(&mut self.store, ()).expect("no trap");
        std::hint::black_box(ctx_next);
        self.handle_response.call(&mut self.store, (0, 0)).expect("no trap");
    }
}

fn write_text(mut caller: Caller<'_, Option<Memory>>, buf: u32, buf_limit: u32) -> wasmtime::Result<u32> {
    let memory = caller.data().ok_or_else(|| wasmtime::Error::msg("no memory"))?;
    let room =
        memory.data_mut(&mut caller).get_mut(buf as usize..).and_then(|rest| rest.get_mut(..TEXT.len()));
    let room = room.filter(|room| room.len() <= buf_limit as usize);
    room.ok_or_else(|| wasmtime::Error::msg("out of bounds"))?.copy_from_slice(TEXT);
    Ok(TEXT.len() as u32)
}
