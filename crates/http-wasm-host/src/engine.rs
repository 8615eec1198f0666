//! The engine: one compiler and one clock for many guests.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use wasmtime::{Config, WasmBacktraceDetails};

use crate::error::LoadError;
use crate::housekeeping::Housekeeping;
use crate::runtime::{NoRuntime, Runtime, Task};

/// Time between two looks at whether a guest has computed for too long. Short enough for an innocent request
/// beside looping guests to wait a few milliseconds only, long enough for the looks to cost nothing.
const TICK: Duration = Duration::from_millis(5);

const GUEST_STACK_BYTES: usize = 512 * 1024;

/// Stack that host functions have on a guest's fiber beyond its own.
const HOST_STACK_BYTES: usize = 1536 * 1024;

/// What guests are loaded into. Cheap to clone; a process needs one.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    wasm: wasmtime::Engine,
    runtime: Box<dyn Runtime>,
    housekeeping: Housekeeping,
}

/// How an [`Engine`] is set up.
pub struct EngineBuilder {
    runtime: Box<dyn Runtime>,
    guest_stack_bytes: usize,
}

impl Engine {
    /// An engine without an executor of its own; see [`Runtime`].
    ///
    /// # Errors
    /// When this machine can't run WebAssembly, or no thread can be started.
    pub fn new() -> Result<Self, LoadError> {
        Self::builder().build()
    }

    /// Settings for an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder { runtime: Box::new(NoRuntime), guest_stack_bytes: GUEST_STACK_BYTES }
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.0.wasm
    }

    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.0.runtime
    }

    /// `duration` in this engine's ticks, rounded up.
    pub(crate) fn clock(&self, duration: Duration) -> Clock {
        let ticks = duration.as_nanos().div_ceil(TICK.as_nanos());
        // Kept well below the point where adding it to the current epoch would overflow.
        Clock { duration, ticks: u64::try_from(ticks).unwrap_or(u64::MAX).clamp(1, u64::MAX / 4) }
    }

    /// Runs `task` off the current path: on the runtime, else on the housekeeping thread.
    pub(crate) fn spawn(&self, task: Task) {
        if let Err(task) = self.0.runtime.spawn(task) {
            // A task that doesn't fit is dropped, and what it holds with it.
            let _fits = self.0.housekeeping.spawn(task);
        }
    }

    /// What `call` gives within `limit`, which is counted from its first wait: most calls have none, and need no timer.
    pub(crate) async fn within<F: Future>(&self, limit: Duration, call: F) -> Option<F::Output> {
        let mut call = pin!(call);
        let mut timer = None;
        poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => timer.get_or_insert_with(|| self.sleep(limit)).as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    pub(crate) fn sleep(&self, duration: Duration) -> Task {
        match self.0.runtime.sleep(duration) {
            Some(sleep) => sleep,
            None => Box::pin(self.0.housekeeping.sleep(duration)),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl EngineBuilder {
    /// The executor whose tasks, timers and yielding the engine uses.
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Box::new(runtime);
        self
    }

    /// Stack that a guest's call may use, in bytes. Going deeper is a trap. Default 512 KiB: a quarter of
    /// what threads have as a rule. A call that need not wait runs on the stack of the thread that polls it, which must have
    /// that much left, or the process aborts.
    pub fn guest_stack_bytes(mut self, bytes: usize) -> Self {
        self.guest_stack_bytes = bytes;
        self
    }

    /// Sets the engine up.
    ///
    /// # Errors
    /// When the guests' stack has no size that can be, this machine can't run WebAssembly, or no thread can be started.
    pub fn build(self) -> Result<Engine, LoadError> {
        let wasm = wasmtime::Engine::new(&config(self.guest_stack_bytes))
            .map_err(|e| LoadError::Engine(format!("{e:#}")))?;
        start_ticker(&wasm).map_err(|e| LoadError::Engine(format!("no thread for its clock: {e}")))?;
        Ok(Engine(Arc::new(Inner { wasm, runtime: self.runtime, housekeeping: Housekeeping::default() })))
    }
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder").finish_non_exhaustive()
    }
}

/// A duration, and what it is in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) duration: Duration,
    pub(crate) ticks: u64,
}

fn config(guest_stack_bytes: usize) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(guest_stack_bytes)
        .async_stack_size(guest_stack_bytes.saturating_add(HOST_STACK_BYTES))
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

/// One thread per engine moves its epoch on; it ends once the engine is gone.
fn start_ticker(engine: &wasmtime::Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("http-wasm-ticker".into()).spawn(move || {
        loop {
            std::thread::sleep(TICK);
            match engine.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    })?;
    Ok(())
}
