//! The start-up of an instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::{InstancePre, Store};

use crate::abi::Features;
use crate::engine::{FileThreads, Image, TickLimit};
use crate::error::{CallError, Error, Reason, Stop};
use crate::exchange::Exchange;
use crate::host::Host;
use crate::run::hook::TracedInstance;
use crate::run::shared::Shared;
use crate::run::state::State;
use crate::run::suspend::{self, Mode, StartFiberPolicy, set_deadline};
use crate::run::wasi::{WasiConfig, WasiState};
use crate::stats::Counters;

/// The functions that run at the start-up of an instance, and how they are called.
#[derive(Debug)]
pub(crate) struct StartFunctions {
    /// Whether the module has a wasm start function.
    pub(crate) has_start: bool,
    pub(crate) exports_initialize: bool,
    pub(crate) exports_start: bool,
    /// Whether even an instance that runs no code of the guest is created on a fiber.
    pub(crate) always_on_fiber: bool,
    pub(crate) fiber_policy: StartFiberPolicy,
    /// Whether the last start-up on a fiber computed for long.
    pub(crate) compute_long: AtomicBool,
    pub(crate) deadline: TickLimit,
}

impl StartFunctions {
    /// Whether creating an instance runs code of the guest.
    pub(crate) fn any(&self) -> bool {
        self.has_start || self.exports_initialize || self.exports_start
    }

    /// The functions of a module whose start-up has already run.
    pub(crate) fn started(self) -> Self {
        Self { has_start: false, exports_initialize: false, exports_start: false, ..self }
    }
}

/// What an instance needs besides its module, and what runs before it can serve.
pub(crate) struct Startup {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wasi: WasiConfig,
    /// The threads for its file operations, if it has any.
    pub(crate) file_threads: Option<Arc<FileThreads>>,
    pub(crate) functions: StartFunctions,
    /// The snapshot that instances start from, if there is one.
    pub(crate) image: Option<Arc<Image>>,
}

impl Startup {
    /// Creates the store of an instance, before its start-up.
    pub(crate) async fn store<H: Host>(
        &self,
        engine: &wasmtime::Engine,
        counters: &Arc<Counters>,
        sheddable: bool,
    ) -> wasmtime::Result<Store<State<H>>> {
        let mut wasi = match &self.file_threads {
            Some(threads) => self.wasi_with_files(threads).await?,
            None => WasiState::new(&self.wasi, None).map_err(wasmtime::Error::msg)?,
        };
        let mut features = Features::NONE;
        if let Some(image) = &self.image {
            wasi.set_clock(image.clock);
            features = image.features;
        }
        let state = State {
            guest: self.shared.clone(),
            traced: self.shared.hook.as_ref().map(TracedInstance::new),
            features,
            exchange: Exchange::new(&self.shared.limits),
            suspension: self.shared.suspension(),
            wasi,
            memory: None,
            quota: self.shared.engine.quota(counters, &self.shared.limits, sheddable),
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(suspend::on_epoch);
        Ok(store)
    }

    /// Creates the WASI state with directories, which are opened on the file threads, as their disk may be slow.
    async fn wasi_with_files(&self, threads: &Arc<FileThreads>) -> wasmtime::Result<WasiState> {
        let (config, own) = (self.wasi.clone(), Some(threads.clone()));
        let limit = self.startup_limit();
        let opened = threads.run_blocking(move || WasiState::new(&config, own));
        match self.shared.engine.background().within(limit, opened).await {
            Some(opened) => opened.map_err(wasmtime::Error::msg),
            None => Err(Stop::Took(limit).into()),
        }
    }

    /// How long creating an instance may take, including all waits. Compute time is limited separately.
    fn startup_limit(&self) -> Duration {
        self.functions.deadline.duration.saturating_mul(2)
    }

    /// Runs the start-up of an instance: the wasm start function, `_initialize` and `_start`, as far as they exist.
    pub(crate) async fn start<H: Host>(
        &self,
        store: &mut Store<State<H>>,
        pre: &InstancePre<State<H>>,
        mode: Mode,
    ) -> wasmtime::Result<wasmtime::Instance> {
        let limit = self.startup_limit();
        let started = self.shared.engine.background().within(limit, self.run(store, pre, mode)).await;
        started.unwrap_or_else(|| Err(Stop::Took(limit).into()))
    }

    async fn run<H: Host>(
        &self,
        store: &mut Store<State<H>>,
        pre: &InstancePre<State<H>>,
        mode: Mode,
    ) -> wasmtime::Result<wasmtime::Instance> {
        let functions = &self.functions;
        let call = store.data().suspension.call();
        let begin = |store: &mut Store<State<H>>| {
            let ticks = store.data_mut().suspension.begin_start(mode, functions.deadline);
            set_deadline(store, ticks);
        };
        let mut quick = true;
        // Without a start function, no guest code runs here, so a fiber would be wasted.
        let instance = match functions.has_start || functions.always_on_fiber {
            true => {
                begin(store);
                let instance = match mode {
                    Mode::Direct => pre.instantiate(&mut *store)?,
                    Mode::Fiber => call.drive(pre.instantiate_async(&mut *store), None).await?,
                };
                quick &= store.data().suspension.was_quick();
                instance
            }
            false => {
                // Data that is too sparse for an image is written by compiled code, which checks the epoch too.
                store.data_mut().suspension.begin(Mode::Direct, functions.deadline);
                set_deadline(store, functions.deadline.ticks);
                pre.instantiate(&mut *store)?
            }
        };
        for (exported, name) in
            [(functions.exports_initialize, "_initialize"), (functions.exports_start, "_start")]
        {
            if !exported {
                continue;
            }
            let function = instance.get_typed_func::<(), ()>(&mut *store, name)?;
            begin(store);
            let called = match mode {
                Mode::Direct => function.call(&mut *store, ()),
                Mode::Fiber => call.drive(function.call_async(&mut *store, ()), None).await,
            };
            match called {
                // A command that exits with success. Its instance can still be called.
                Err(error) if exit_code(&error) == Some(0) => {}
                result => result?,
            }
            quick &= store.data().suspension.was_quick();
        }
        if mode == Mode::Fiber {
            functions.compute_long.store(!quick, Ordering::Relaxed);
            if quick {
                functions.fiber_policy.was_quick();
            }
        }
        Ok(instance)
    }

    pub(crate) fn failed(&self, error: &wasmtime::Error) -> Error {
        Error::from_wasmtime(self.shared.name.clone(), &self.shared.symbols, None, error)
    }
}

fn exit_code(error: &wasmtime::Error) -> Option<u32> {
    match error.downcast_ref::<CallError>()?.reason {
        Reason::Exit(code) => Some(code),
        _ => None,
    }
}
