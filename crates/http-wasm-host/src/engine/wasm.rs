//! The two wasmtime engines behind an [`Engine`](super::Engine): one with a fixed number of slots for instances, where making one is a
//! matter of microseconds, and one that asks the system for each instance, for the burst beyond the slots.

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

/// Tables of one instance that fit a slot. Toolchains emit one; reference types bring a second.
const TABLES: u32 = 2;

/// Elements of a table that fit a slot. What a slot has more than an instance uses is address space alone.
pub(super) const TABLE_ELEMENTS: usize = 100_000;

/// Stack that host functions have on a guest's fiber beyond its own.
const HOST_STACK_BYTES: usize = 1536 * 1024;

/// What its own instance data may take in a slot: some 30,000 functions in tables.
const INSTANCE_BYTES: usize = 1024 * 1024;

/// The engines of one [`Engine`](super::Engine). Both run the same compiled code.
pub(super) struct Engines {
    /// `None` when no slots are wanted, or the system has no address space for them.
    pub(super) slots: Option<wasmtime::Engine>,
    pub(super) on_demand: wasmtime::Engine,
}

impl Engines {
    pub(super) fn new(settings: &Settings) -> wasmtime::Result<Self> {
        let on_demand = wasmtime::Engine::new(&config(settings))?;
        Ok(Self { slots: with_slots(settings), on_demand })
    }
}

/// The engine with as many of the slots as the system has address space for.
fn with_slots(settings: &Settings) -> Option<wasmtime::Engine> {
    let mut slots = settings.slots;
    while slots > 0 {
        match wasmtime::Engine::new(&slotted(settings, slots)) {
            Ok(engine) => return Some(engine),
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
}

fn config(settings: &Settings) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(settings.guest_stack_bytes)
        .async_stack_size(settings.guest_stack_bytes.saturating_add(HOST_STACK_BYTES))
        // What toolchains of today emit beyond wasmtime's defaults.
        .wasm_tail_call(true)
        .wasm_function_references(true)
        .wasm_gc(true)
        .wasm_exceptions(true)
        .wasm_relaxed_simd(true)
        .wasm_multi_memory(true)
        // Suspension points are added to guests, which moves their code: source lines would be wrong.
        // Function names come from the name section and stay right.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

fn slotted(settings: &Settings, slots: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(slots)
        // A store keeps the stack that it has once used.
        .total_stacks(slots)
        // Few guests are of garbage-collected languages; theirs takes the memory of another slot.
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
        // Otherwise what a guest has once used of a stack stays resident in the slot for good.
        .async_stack_zeroing(true);
    config
}
