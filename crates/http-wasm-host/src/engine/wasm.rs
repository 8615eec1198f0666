//! The two wasmtime engines behind an [`Engine`](super::Engine): one has a fixed number of slots for instances, in
//! which it creates an instance in microseconds; the other allocates memory for each instance, for bursts beyond the
//! slots.

use std::sync::Arc;

use wasmtime::{
    Config, InstanceAllocationStrategy, PoolingAllocationConfig, StackCreator, WasmBacktraceDetails,
};

/// The number of tables per instance that fit a slot. Toolchains emit one; reference types add a second.
const TABLES: u32 = 2;

/// The number of table elements that fit a slot. The unused part of a slot is only address space.
pub(super) const TABLE_ELEMENTS: usize = 100_000;

/// Additional stack for host functions on a guest's fiber, in bytes.
const HOST_STACK_BYTES: usize = 1536 * 1024;

/// The size of the instance data that fits a slot, in bytes: about 30,000 functions in tables.
const INSTANCE_BYTES: usize = 1024 * 1024;

/// The engines of one [`Engine`](super::Engine). Both run the same compiled code.
pub(super) struct Engines {
    /// `None` if no slots are requested, or the system has no address space for them.
    pub(super) slots: Option<wasmtime::Engine>,
    pub(super) number_of_slots: u32,
    pub(super) on_demand: wasmtime::Engine,
}

impl Engines {
    pub(super) fn new(settings: &Settings) -> wasmtime::Result<Self> {
        let on_demand = wasmtime::Engine::new(&config(settings))?;
        let (slots, number_of_slots) = with_slots(settings).unzip();
        Ok(Self { slots, number_of_slots: number_of_slots.unwrap_or(0), on_demand })
    }
}

/// Creates the engine with slots, reduced to the number that the system has address space for.
fn with_slots(settings: &Settings) -> Option<(wasmtime::Engine, u32)> {
    let mut slots = settings.slots;
    while slots > 0 {
        match wasmtime::Engine::new(&slotted(settings, slots)) {
            Ok(engine) => return Some((engine, slots)),
            Err(error) => {
                let fewer = slots / 2;
                tracing::warn!(slots, fewer, "cannot reserve slots for instances: {error:#}");
                slots = fewer;
            }
        }
    }
    None
}

/// What distinguishes one engine from another.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) slots: u32,
    pub(super) guest_stack_bytes: usize,
    pub(super) stacks: Option<Arc<dyn StackCreator>>,
}

fn config(settings: &Settings) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(settings.guest_stack_bytes)
        .async_stack_size(settings.guest_stack_bytes.saturating_add(HOST_STACK_BYTES))
        // Features that current toolchains use beyond wasmtime's defaults.
        .wasm_tail_call(true)
        .wasm_function_references(true)
        .wasm_gc(true)
        .wasm_exceptions(true)
        .wasm_relaxed_simd(true)
        .wasm_multi_memory(true)
        // Suspension points are added to guests, which moves their code, so source lines would be wrong. Function names
        // come from the name section and stay correct.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    if let Some(stacks) = &settings.stacks {
        config.with_host_stack(stacks.clone());
    }
    config
}

fn slotted(settings: &Settings, slots: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots)
        // A store keeps the stack that it has used.
        .total_stacks(slots)
        // Few guests are written in garbage-collected languages. Those use the memory of another slot.
        .total_gc_heaps(slots.div_ceil(4))
        .total_memories(slots)
        .max_memories_per_module(1)
        .max_tables_per_module(TABLES)
        .total_tables(slots.saturating_mul(TABLES))
        .table_elements(TABLE_ELEMENTS)
        .max_core_instance_size(INSTANCE_BYTES);
    let mut config = config(settings);
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        // Otherwise, the part of a stack that a guest has once used would stay resident in the slot.
        .async_stack_zeroing(true);
    config
}
