//! Guests that call WASI functions, in stores with no other state.

mod fileless;
mod mounts;
mod waiting;

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_executor::block_on;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use wasmtime::{Instance, Linker, Memory, Module, Store};

use super::*;
use crate::engine::Engine;
use crate::limits::Limits;
use crate::load::inspect::shim::add_suspension_points;
use crate::log::{Log, with_subscriber};
use crate::run::compute::Compute;
use crate::run::memory::HasMemory;
use crate::run::suspend::{Mode, Suspend, Suspension};

struct Data {
    log: Arc<Log>,
    suspension: Suspension,
    wasi: WasiState,
}

impl HasMemory for Data {
    fn memory(&self) -> Option<Memory> {
        None
    }
}

impl Suspend for Data {
    fn suspension(&mut self) -> &mut Suspension {
        &mut self.suspension
    }

    fn detach(&mut self) {}
}

impl HasWasi for Data {
    fn wasi(&mut self) -> (&mut WasiState, &Arc<Log>, &Suspension) {
        (&mut self.wasi, &self.log, &self.suspension)
    }
}

struct Guest {
    engine: Engine,
    store: Store<Data>,
    instance: Instance,
}

impl Guest {
    /// A guest with one page of memory. `body` follows the imports of `functions`, given by name and parameters.
    fn new(config: &WasiConfig, functions: &[(&str, &str)], body: &str) -> Self {
        let mut wat = String::from("(module");
        for (name, params) in functions {
            let result = if *name == "proc_exit" { "" } else { "(result i32)" };
            write!(wat, "(import \"{MODULE}\" \"{name}\" (func ${name} (param {params}) {result}))").unwrap();
        }
        write!(wat, "(memory (export \"memory\") 1) {body})").unwrap();
        let wasm = add_suspension_points(&wat::parse_str(wat).unwrap(), &SUSPENDING).unwrap().wasm;
        let engine = Engine::new().unwrap();
        let module = Module::new(engine.wasm(), wasm).unwrap();
        let limits = Limits { log_line_bytes: 32, ..Limits::default() };
        let log = Log::new(engine.background().clone(), "example".into(), &limits);
        let suspension = Suspension::new(engine.clone(), Arc::default(), Arc::new(Compute::new()));
        let threads = config.needs_async().then(|| engine.file_threads(&"example".into()).unwrap());
        let data = Data { log, suspension, wasi: WasiState::new(config, threads).unwrap() };
        let mut store = Store::new(engine.wasm(), data);
        store.epoch_deadline_callback(suspend::on_epoch);
        store.set_epoch_deadline(u64::MAX / 2);
        let mut linker = Linker::new(engine.wasm());
        add_to_linker(&mut linker, config, false).unwrap();
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        Self { engine, store, instance }
    }

    /// Calls export `run` without a fiber.
    fn run(&mut self) -> i32 {
        self.try_run().unwrap()
    }

    fn try_run(&mut self) -> wasmtime::Result<i32> {
        let run = self.instance.get_typed_func::<(), i32>(&mut self.store, "run").unwrap();
        run.call(&mut self.store, ())
    }

    /// Calls export `run` on a fiber.
    async fn run_on_fiber(&mut self) -> i32 {
        let clock = self.engine.in_ticks(Duration::from_secs(10));
        let ticks = self.store.data_mut().suspension.begin(Mode::Fiber, clock);
        self.store.set_epoch_deadline(ticks);
        let run = self.instance.get_typed_func::<(), i32>(&mut self.store, "run").unwrap();
        let call = self.store.data().suspension.call();
        call.drive(run.call_async(&mut self.store, ()), None).await.unwrap()
    }

    fn flush(&mut self) {
        let Data { wasi, log, .. } = self.store.data_mut();
        wasi.flush(log);
    }

    fn bytes(&mut self, at: usize, len: usize) -> Vec<u8> {
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        memory.data(&self.store)[at..at + len].to_vec()
    }

    fn u64(&mut self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    fn u32(&mut self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }
}

/// The lines that guests write while `f` runs: "guest stream: line".
fn logged(f: impl FnOnce()) -> Vec<String> {
    let ear = Captured::default();
    let lines = ear.0.clone();
    with_subscriber(tracing_subscriber::registry().with(ear), f);
    let mut lines = lines.lock().unwrap();
    std::mem::take(&mut *lines)
}

#[derive(Default)]
struct Captured(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Captured {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() != crate::log::TARGET {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().unwrap().push(format!("{} {}: {}", line.guest, line.stream, line.message));
    }
}

#[derive(Default)]
struct Line {
    guest: String,
    stream: String,
    message: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "guest" => self.guest = value.into(),
            "stream" => self.stream = value.into(),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
