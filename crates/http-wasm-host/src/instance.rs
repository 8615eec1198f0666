//! One store with its exports: the thing that a pool holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::{InstancePre, Store, StoreLimitsBuilder, TypedFunc};

use crate::abi::{CtxNext, Features, Phase};
use crate::engine::{Clock, Engine};
use crate::error::{CallError, Error, ErrorKind, Reason, Stop};
use crate::exchange::{Budget, Exchange};
use crate::host::Host;
#[cfg(feature = "mutations")]
use crate::mutation::Mutation;
use crate::state::{Shared, State};
use crate::stats::{DropReason, Live};
use crate::suspend::{self, Mode, Suspension};
use crate::wasi::{WasiConfig, WasiState};

/// One store with its exports. Used by one request at a time, as `&mut` says.
pub(crate) struct Instance<H: Host> {
    store: Store<State<H>>,
    handle_request: TypedFunc<(), u64>,
    handle_response: TypedFunc<(u32, u32), ()>,
    calls: Arc<Calls>,
    pub(crate) pin: Pin,
    /// Size of the memory after start-up, in bytes.
    start_size: usize,
    _live: Live,
}

/// What goes with an instance that is out of the pool. It is kept here, so that the guards that are passed around
/// are mere pointers.
#[derive(Debug)]
pub(crate) struct Pin {
    /// What the guest gave for its second call.
    pub(crate) req_ctx: u32,
    /// What it counts as if it is dropped now. Until something else is known, a call was cancelled inside the guest.
    pub(crate) doubt: DropReason,
}

impl Default for Pin {
    fn default() -> Self {
        Self { req_ctx: 0, doubt: DropReason::Cancelled }
    }
}

/// How a guest's functions are called, the same for all its instances.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Some import may have to wait whatever the exchange: a sleep, a file.
    pub(crate) always_waits: bool,
    /// Some import waits for bodies or trailers.
    pub(crate) waits_for_bodies: bool,
    /// A call without a fiber has computed for too long; see [`crate::suspend`].
    pub(crate) slow: Arc<AtomicBool>,
    pub(crate) deadline: Clock,
    pub(crate) startup_deadline: Clock,
    /// The module has a wasm start function.
    pub(crate) has_start: bool,
    pub(crate) exports_initialize: bool,
    pub(crate) exports_start: bool,
}

/// What it takes to make instances.
pub(crate) struct Blueprint<H: Host> {
    pub(crate) engine: Engine,
    pub(crate) pre: InstancePre<State<H>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) wasi: WasiConfig,
    pub(crate) calls: Arc<Calls>,
}

impl<H: Host> Blueprint<H> {
    /// Makes an instance and runs its start-up: wasm start function, `_initialize`, `_start`, whatever is there.
    pub(crate) async fn build(&self, live: Live) -> Result<Instance<H>, Error> {
        let failed = |error: wasmtime::Error| Error::from_wasmtime(self.shared.name.clone(), None, &error);
        let wasi = WasiState::new(&self.wasi).map_err(|reason| failed(wasmtime::Error::msg(reason)))?;
        let limits = &self.shared.limits;
        let limits = StoreLimitsBuilder::new()
            .memory_size(limits.memory_bytes)
            .table_elements(limits.table_elements)
            .instances(1)
            .build();
        let state = State {
            guest: self.shared.clone(),
            features: Features::NONE,
            exchange: None,
            suspension: Suspension::new(self.engine.clone(), self.calls.slow.clone()),
            wasi,
            memory: None,
            limits,
        };
        let mut store = Store::new(self.engine.wasm(), state);
        store.limiter(|state| &mut state.limits);
        store.epoch_deadline_callback(suspend::on_epoch);
        // Its computing is counted in `start`; this is for one that sleeps.
        let limit = self.calls.startup_deadline.duration;
        let started = Box::pin(self.engine.within(limit, self.start(&mut store))).await;
        let instance = started.unwrap_or_else(|| Err(Stop::Took(limit).into())).map_err(failed)?;
        let memory = instance.get_memory(&mut store, "memory");
        store.data_mut().memory = memory;
        store.data_mut().flush_output();
        let handle_request = instance.get_typed_func(&mut store, "handle_request").map_err(failed)?;
        let handle_response = instance.get_typed_func(&mut store, "handle_response").map_err(failed)?;
        let start_size = memory.map_or(0, |memory| memory.data_size(&store));
        Ok(Instance {
            store,
            handle_request,
            handle_response,
            calls: self.calls.clone(),
            pin: Pin::default(),
            start_size,
            _live: live,
        })
    }

    async fn start(&self, store: &mut Store<State<H>>) -> wasmtime::Result<wasmtime::Instance> {
        let calls = &*self.calls;
        let ticks = store.data_mut().suspension.begin(Mode::Fiber, calls.startup_deadline);
        store.set_epoch_deadline(ticks);
        let waker = store.data().suspension.waker();
        // Without a start function no guest code runs here, and a fiber would be for nothing.
        let instance = match calls.has_start || calls.always_waits {
            true => waker.clone().drive(self.pre.instantiate_async(&mut *store)).await?,
            false => self.pre.instantiate(&mut *store)?,
        };
        for (exported, name) in [(calls.exports_initialize, "_initialize"), (calls.exports_start, "_start")] {
            if !exported {
                continue;
            }
            let function = instance.get_typed_func::<(), ()>(&mut *store, name)?;
            let ticks = store.data_mut().suspension.begin(Mode::Fiber, calls.startup_deadline);
            store.set_epoch_deadline(ticks);
            match waker.clone().drive(function.call_async(&mut *store, ())).await {
                // A command that says it has succeeded; its instance stays callable.
                Err(error) if exit_code(&error) == Some(0) => {}
                result => result?,
            }
        }
        Ok(instance)
    }
}

fn exit_code(error: &wasmtime::Error) -> Option<u32> {
    match error.downcast_ref::<CallError>()?.reason {
        Reason::Exit(code) => Some(code),
        _ => None,
    }
}

impl<H: Host> Instance<H> {
    /// Features enabled while the instance was made.
    pub(crate) fn features(&self) -> Features {
        self.store.data().features
    }

    /// Size of the guest's memory in bytes.
    pub(crate) fn memory_size(&self) -> usize {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store))
    }

    /// Starts an exchange.
    pub(crate) fn begin(&mut self, host: H) {
        let state = self.store.data_mut();
        let budget = Budget::new(&state.guest.limits);
        state.exchange = Some(Exchange::new(host, state.features, budget));
        #[cfg(feature = "mutations")]
        self.mutate_exchange();
        self.pin = Pin::default();
    }

    /// Whether its memory has grown too far for it to lie idle.
    pub(crate) fn has_outgrown(&self) -> bool {
        let growth = self.memory_size().saturating_sub(self.start_size);
        growth > self.store.data().guest.limits.retained_growth
    }

    /// Runs `handle_request`.
    ///
    /// Answers whether the guest proceeds.
    pub(crate) async fn handle_request(&mut self) -> Result<bool, Error> {
        let mode = self.mode();
        let Self { store, handle_request, calls, .. } = self;
        let called = call(store, calls, mode, handle_request, ()).await;
        #[cfg(feature = "mutations")]
        let called = called.map(|packed| self.mutate_ctx_next(packed));
        let ctx_next = CtxNext::unpack(called.map_err(|error| self.failed(Phase::Request, &error))?);
        let exchange = self.exchange()?;
        if ctx_next.proceed {
            exchange.finish_request();
        } else {
            let responded = exchange.respond();
            responded.map_err(|reason| self.refused(Phase::Request, reason))?;
        }
        self.pin.req_ctx = ctx_next.req_ctx;
        Ok(ctx_next.proceed)
    }

    /// Runs `handle_response`. The next handler's response is in the host, unless `is_error`.
    pub(crate) async fn handle_response(&mut self, is_error: bool) -> Result<(), Error> {
        let exchange = self.exchange()?;
        let joined = if is_error { exchange.join_error() } else { exchange.join_response() };
        joined.map_err(|reason| self.refused(Phase::Response, reason))?;
        #[cfg(feature = "mutations")]
        if self.is_mutated(Mutation::ResponsePhaseSkipped) {
            self.exchange()?.finish_response();
            return Ok(());
        }
        let mode = self.mode();
        let Self { store, handle_response, calls, pin, .. } = self;
        let called = call(store, calls, mode, handle_response, (pin.req_ctx, u32::from(is_error))).await;
        called.map_err(|error| self.failed(Phase::Response, &error))?;
        self.exchange()?.finish_response();
        Ok(())
    }

    /// The host between the phases.
    pub(crate) fn host_mut(&mut self) -> Option<&mut H> {
        self.store.data_mut().exchange.as_mut().map(|exchange| &mut exchange.host)
    }

    /// Ends the exchange; the instance is as before it.
    pub(crate) fn end(&mut self) -> Result<H, Error> {
        let State { exchange, guest, .. } = self.store.data_mut();
        exchange.take().map(|exchange| exchange.host).ok_or_else(|| no_exchange(guest))
    }

    fn exchange(&mut self) -> Result<&mut Exchange<H>, Error> {
        let State { exchange, guest, .. } = self.store.data_mut();
        exchange.as_mut().ok_or_else(|| no_exchange(guest))
    }

    fn mode(&self) -> Mode {
        let calls = &*self.calls;
        let waits = calls.always_waits
            || calls.slow.load(Ordering::Relaxed)
            || calls.waits_for_bodies && self.store.data().exchange.as_ref().is_some_and(Exchange::may_wait);
        if waits { Mode::Fiber } else { Mode::Direct }
    }

    fn failed(&self, phase: Phase, error: &wasmtime::Error) -> Error {
        Error::from_wasmtime(self.store.data().guest.name.clone(), Some(phase), error)
    }

    fn refused(&self, phase: Phase, reason: Reason) -> Error {
        Error::new(reason.kind(), self.store.data().guest.name.clone(), Some(phase), reason.to_string())
    }
}

/// Breaking rules on purpose; see [`crate::mutation`].
#[cfg(feature = "mutations")]
impl<H: Host> Instance<H> {
    pub(crate) fn is_mutated(&self, mutation: Mutation) -> bool {
        self.store.data().guest.mutation == Some(mutation)
    }

    fn mutate_exchange(&mut self) {
        let State { exchange, guest, .. } = self.store.data_mut();
        if let Some(exchange) = exchange {
            exchange.mutation = guest.mutation;
        }
    }

    fn mutate_ctx_next(&self, packed: u64) -> u64 {
        match self.store.data().guest.mutation {
            Some(Mutation::NextIsOne) if packed as u32 != 1 => 0,
            Some(Mutation::StopIgnored) => packed | 1,
            Some(Mutation::ReqCtxTruncated) => packed & !(1 << 63),
            Some(Mutation::ReqCtxZero) => packed & 0xffff_ffff,
            _ => packed,
        }
    }

    /// Lets each go on with the other's exchange.
    pub(crate) fn swap_exchanges(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.store.data_mut().exchange, &mut other.store.data_mut().exchange);
        std::mem::swap(&mut self.pin, &mut other.pin);
    }
}

/// Calls a function of the guest. Takes the parts of an instance, as cloning a function is not cheap.
async fn call<H, P, R>(
    store: &mut Store<State<H>>,
    calls: &Calls,
    mode: Mode,
    function: &TypedFunc<P, R>,
    params: P,
) -> wasmtime::Result<R>
where
    H: Host,
    P: wasmtime::WasmParams + Sync,
    R: wasmtime::WasmResults + Sync,
{
    let ticks = store.data_mut().suspension.begin(mode, calls.deadline);
    store.set_epoch_deadline(ticks);
    let result = match mode {
        Mode::Direct => function.call(&mut *store, params),
        Mode::Fiber => {
            let waker = store.data().suspension.waker();
            // Boxed, so that the future of a call without a fiber stays small.
            let engine = store.data().suspension.engine().clone();
            let limit = store.data().guest.limits.total;
            let call = waker.drive(function.call_async(&mut *store, params));
            Box::pin(engine.within(limit, call)).await.unwrap_or_else(|| Err(Stop::Took(limit).into()))
        }
    };
    store.data_mut().flush_output();
    result
}

fn no_exchange(guest: &Shared) -> Error {
    Error::new(ErrorKind::Internal, guest.name.clone(), None, "there is no exchange".into())
}
