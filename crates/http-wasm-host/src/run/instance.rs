//! One store with its exports: the thing that a pool holds.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use wasmtime::{InstancePre, PoolConcurrencyLimitError, Store, TypedFunc};

use crate::abi::{BodyKind, CtxNext, Features, Phase};
use crate::engine::{Clock, Engine, SharedCode};
use crate::error::{CallError, Error, ErrorKind, Reason, Stop};
use crate::exchange::{Budget, Exchange};
use crate::guest;
use crate::host::Host;
use crate::load::snapshot::Image;
#[cfg(feature = "mutations")]
use crate::mutation::Mutation;
use crate::observer::Call;
use crate::run::link::{Exports, Linked};
use crate::run::state::{Shared, State};
use crate::run::suspend::{self, Mode, Pace, StartPace, Suspension};
use crate::run::wasi::{FileThreads, WasiConfig, WasiState};
use crate::stats::{Counters, DropReason, Live};

/// One store with its exports. Used by one request at a time, as `&mut` says.
pub(crate) struct Instance<H: Host> {
    store: Store<State<H>>,
    handle_request: TypedFunc<(), u64>,
    handle_response: TypedFunc<(u32, u32), ()>,
    home: Arc<guest::Inner<H>>,
    pub(crate) pin: Pin,
    /// Size of its memories after start-up, in bytes.
    start_size: usize,
    _live: Live,
}

/// What goes with an instance that is out of the pool. It is kept here, so that the guards that are passed around
/// are mere pointers.
#[derive(Debug)]
pub(crate) struct Pin {
    /// What the guest gave for its second call.
    pub(crate) req_ctx: u32,
    /// The next handler gave no response.
    is_error: bool,
    /// What it counts as if it is dropped now. Until something else is known, a call was cancelled inside the guest.
    pub(crate) doubt: DropReason,
}

impl Pin {
    /// The parameters of `handle_response`.
    fn params(&self) -> (u32, u32) {
        (self.req_ctx, self.is_error.into())
    }
}

impl Default for Pin {
    fn default() -> Self {
        Self { req_ctx: 0, is_error: false, doubt: DropReason::Cancelled }
    }
}

/// How a guest's functions are called, the same for all its instances.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    /// Some import is asynchronous: those that have to do with files.
    pub(crate) always_on_fiber: bool,
    /// What `handle_request` may wait for, and what `handle_response`.
    pub(crate) request: Waits,
    pub(crate) response: Waits,
    /// `handle_response` does nothing, so that it need not be called.
    pub(crate) ignores_responses: bool,
    pub(crate) pace: Arc<Pace>,
    pub(crate) deadline: Clock,
    pub(crate) startup_deadline: Clock,
    pub(crate) start_pace: Arc<StartPace>,
    /// The module has a wasm start function.
    pub(crate) has_start: bool,
    pub(crate) exports_initialize: bool,
    pub(crate) exports_start: bool,
}

/// What one of a guest's two functions may have to wait for, as far as its code tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// It may read bodies.
    pub(crate) for_bodies: bool,
    /// It may read trailers, which are there at once unless the guest may read the body before them.
    pub(crate) for_trailers: bool,
    /// It may enable features.
    pub(crate) enables_features: bool,
    /// It may sleep.
    pub(crate) sleeps: bool,
}

impl Waits {
    fn for_message(self) -> bool {
        self.for_bodies || self.for_trailers
    }
}

impl Calls {
    /// Whether making an instance runs code of the guest.
    pub(crate) fn run_at_start(&self) -> bool {
        self.has_start || self.exports_initialize || self.exports_start
    }

    /// How those of instances are called whose start-up has been run.
    pub(crate) fn started(self) -> Self {
        Self { has_start: false, exports_initialize: false, exports_start: false, ..self }
    }
}

/// What it takes to make instances.
pub(crate) struct Blueprint<H: Host> {
    pub(crate) startup: Startup,
    pub(crate) code: SharedCode,
    pub(crate) linked: Linked<H>,
    /// For instances that find no slot, linked when there is the first.
    pub(crate) overflow: OnceLock<Result<Linked<H>, String>>,
}

/// What goes into an instance beside its module, and what is run until it can serve.
#[derive(Clone)]
pub(crate) struct Startup {
    pub(crate) engine: Engine,
    pub(crate) shared: Arc<Shared>,
    pub(crate) wasi: WasiConfig,
    /// Where its file operations run, if it has any.
    pub(crate) file_threads: Option<Arc<FileThreads>>,
    pub(crate) calls: Calls,
    /// The snapshot that instances begin with, if there is one.
    pub(crate) image: Option<Arc<Image>>,
}

impl Startup {
    /// What an instance lives in, as it is before start-up.
    pub(crate) async fn store<H: Host>(
        &self,
        engine: &wasmtime::Engine,
        counters: &Arc<Counters>,
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
            features,
            exchange: None,
            suspension: Suspension::new(self.engine.clone(), self.calls.pace.clone()),
            wasi,
            memory: None,
            quota: self.engine.quota(counters, &self.shared.limits),
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.quota);
        store.epoch_deadline_callback(suspend::on_epoch);
        Ok(store)
    }

    /// WASI with directories, which are opened on the threads for files: their disk may be slow.
    async fn wasi_with_files(&self, threads: &Arc<FileThreads>) -> wasmtime::Result<WasiState> {
        let (config, own) = (self.wasi.clone(), Some(threads.clone()));
        let limit = self.startup_limit();
        let opened = threads.run_blocking(move || WasiState::new(&config, own));
        match self.engine.within(limit, opened).await {
            Some(opened) => opened.map_err(wasmtime::Error::msg),
            None => Err(Stop::Took(limit).into()),
        }
    }

    /// The time that making an instance may take with all its waiting. Computing is counted where it happens.
    fn startup_limit(&self) -> Duration {
        self.calls.startup_deadline.duration.saturating_mul(2)
    }

    /// Runs the start-up of an instance: wasm start function, `_initialize`, `_start`, whatever is there. `directly`: without a fiber.
    pub(crate) async fn start<H: Host>(
        &self,
        store: &mut Store<State<H>>,
        pre: &InstancePre<State<H>>,
        directly: bool,
    ) -> wasmtime::Result<wasmtime::Instance> {
        let limit = self.startup_limit();
        let started = self.engine.within(limit, self.run(store, pre, directly)).await;
        started.unwrap_or_else(|| Err(Stop::Took(limit).into()))
    }

    async fn run<H: Host>(
        &self,
        store: &mut Store<State<H>>,
        pre: &InstancePre<State<H>>,
        directly: bool,
    ) -> wasmtime::Result<wasmtime::Instance> {
        let calls = &self.calls;
        let waker = store.data().suspension.waker();
        let begin = |store: &mut Store<State<H>>| {
            let ticks = store.data_mut().suspension.begin_start(directly, calls.startup_deadline);
            store.set_epoch_deadline(ticks);
        };
        let mut quick = true;
        // Without a start function no guest code runs here, and a fiber would be for nothing.
        let instance = match calls.has_start || calls.always_on_fiber {
            true => {
                begin(store);
                let instance = match directly {
                    true => pre.instantiate(&mut *store)?,
                    false => waker.clone().drive(pre.instantiate_async(&mut *store)).await?,
                };
                quick &= store.data().suspension.was_quick();
                instance
            }
            false => {
                // But data that is too sparse for an image is written by compiled code, which looks at the clock as well.
                store.data_mut().suspension.begin(Mode::Direct, calls.startup_deadline);
                store.set_epoch_deadline(calls.startup_deadline.ticks);
                pre.instantiate(&mut *store)?
            }
        };
        for (exported, name) in [(calls.exports_initialize, "_initialize"), (calls.exports_start, "_start")] {
            if !exported {
                continue;
            }
            let function = instance.get_typed_func::<(), ()>(&mut *store, name)?;
            begin(store);
            let called = match directly {
                true => function.call(&mut *store, ()),
                false => waker.clone().drive(function.call_async(&mut *store, ())).await,
            };
            match called {
                // A command that says it has succeeded; its instance stays callable.
                Err(error) if exit_code(&error) == Some(0) => {}
                result => result?,
            }
            quick &= store.data().suspension.was_quick();
        }
        if quick && !directly {
            calls.start_pace.was_quick();
        }
        Ok(instance)
    }

    fn failed(&self, error: &wasmtime::Error) -> Error {
        Error::from_wasmtime(self.shared.name.clone(), None, error)
    }
}

/// An instance whose start-up has been run, well or not.
struct Begun<'a, H: Host> {
    linked: &'a Linked<H>,
    store: Store<State<H>>,
    started: wasmtime::Result<wasmtime::Instance>,
}

impl<H: Host> Blueprint<H> {
    /// Begins an instance in a slot if one is free, else with what the system gives.
    async fn begin(&self, counters: &Arc<Counters>, directly: bool) -> Result<Begun<'_, H>, Error> {
        let begun = self.begin_in(&self.linked, counters, directly).await?;
        let has_no_slot = begun.started.as_ref().is_err_and(|error| error.is::<PoolConcurrencyLimitError>());
        match if has_no_slot { self.overflow() } else { None } {
            Some(overflow) => self.begin_in(overflow?, counters, directly).await,
            None => Ok(begun),
        }
    }

    async fn begin_in<'a>(
        &'a self,
        linked: &'a Linked<H>,
        counters: &Arc<Counters>,
        directly: bool,
    ) -> Result<Begun<'a, H>, Error> {
        let engine = linked.pre.module().engine();
        let store = self.startup.store(engine, counters).await;
        let mut store = store.map_err(|error| self.startup.failed(&error))?;
        let started = self.startup.start(&mut store, &linked.pre, directly).await;
        Ok(Begun { linked, store, started })
    }

    /// How instances are made that find no slot; `None` where all are made in that way.
    fn overflow(&self) -> Option<Result<&Linked<H>, Error>> {
        let Startup { shared, wasi, .. } = &self.startup;
        let module = self.code.get().overflow()?;
        let linked =
            self.overflow.get_or_init(|| Linked::new(module?, wasi, shared).map_err(|e| format!("{e:#}")));
        Some(linked.as_ref().map_err(|reason| self.startup.failed(&wasmtime::Error::msg(reason.clone()))))
    }
}

fn exit_code(error: &wasmtime::Error) -> Option<u32> {
    match error.downcast_ref::<CallError>()?.reason {
        Reason::Exit(code) => Some(code),
        _ => None,
    }
}

impl<H: Host> Instance<H> {
    /// Makes an instance: in a slot if one is free, else with what the system gives.
    pub(crate) async fn make(home: &Arc<guest::Inner<H>>, live: Live) -> Result<Box<Self>, Error> {
        let blueprint = &home.blueprint;
        let calls = &blueprint.startup.calls;
        let directly = calls.run_at_start() && !calls.start_pace.needs_fiber();
        let mut begun = blueprint.begin(&home.counters, directly).await?;
        if directly && begun.started.as_ref().is_err_and(|error| error.is::<Stop>()) {
            // It was stopped only because it had no fiber.
            calls.start_pace.was_slow();
            drop(begun);
            begun = blueprint.begin(&home.counters, false).await?;
        }
        let Begun { linked, mut store, started } = begun;
        let exports = started.and_then(|instance| linked.exports(&mut store, &instance));
        let Exports { memory, handle_request, handle_response } =
            exports.map_err(|error| store.data().failed(None, &error))?;
        store.data_mut().memory = Some(memory);
        store.data_mut().flush_output();
        let start_size = store.data().quota.memory();
        Ok(Box::new(Self {
            store,
            handle_request,
            handle_response,
            home: home.clone(),
            pin: Pin::default(),
            start_size,
            _live: live,
        }))
    }

    /// What it has in common with the guest's other instances.
    pub(crate) fn home(&self) -> &guest::Inner<H> {
        &self.home
    }

    /// Features enabled while the instance was made.
    pub(crate) fn features(&self) -> Features {
        self.store.data().features
    }

    /// Size of the guest's memories in bytes.
    pub(crate) fn memory_size(&self) -> usize {
        self.store.data().quota.memory()
    }

    /// Starts an exchange.
    #[inline]
    pub(crate) fn begin(&mut self, host: H) {
        let state = self.store.data_mut();
        state.quota.begin();
        let budget = Budget::new(&state.guest.limits);
        state.exchange = Some(Exchange::new(host, state.features, budget, state.guest.on_failure));
        #[cfg(feature = "mutations")]
        self.mutate_exchange();
        self.pin = Pin::default();
    }

    /// Whether its memory has grown too far for it to lie idle.
    #[inline]
    pub(crate) fn has_outgrown(&self) -> bool {
        let growth = self.memory_size().saturating_sub(self.start_size);
        growth > self.store.data().guest.limits.retained_growth
    }

    /// Runs `handle_request`, and answers whether the guest proceeds. `None` if that takes a fiber.
    #[inline]
    pub(crate) fn handle_request(&mut self) -> Option<Result<bool, Error>> {
        if self.needs_fiber(Phase::Request) {
            return None;
        }
        let started = self.clock();
        let Self { store, handle_request, home, .. } = self;
        let called = call(store, home.calls().deadline, handle_request, ());
        Some(self.request_returned(called, started))
    }

    /// The same on a fiber.
    pub(crate) async fn handle_request_on_fiber(&mut self) -> Result<bool, Error> {
        let started = self.clock();
        let Self { store, handle_request, home, .. } = self;
        let called = call_on_fiber(store, home.calls().deadline, handle_request, ()).await;
        self.request_returned(called, started)
    }

    #[inline]
    fn request_returned(
        &mut self,
        called: wasmtime::Result<u64>,
        started: Option<Instant>,
    ) -> Result<bool, Error> {
        let result = self.request_decided(called);
        self.observe(Phase::Request, started, result.as_ref().err());
        result
    }

    #[inline]
    fn request_decided(&mut self, called: wasmtime::Result<u64>) -> Result<bool, Error> {
        #[cfg(feature = "mutations")]
        let called = called.map(|packed| self.mutate_ctx_next(packed));
        let ctx_next = CtxNext::unpack(called.map_err(|error| self.failed(Phase::Request, &error))?);
        let (exchange, engine) = self.exchange_and_engine()?;
        let finished = exchange.check_memory().and_then(|()| {
            if ctx_next.proceed {
                exchange.finish_request(engine);
                return Ok(());
            }
            exchange.respond(engine)
        });
        finished.map_err(|reason| self.refused(Phase::Request, reason))?;
        self.pin.req_ctx = ctx_next.req_ctx;
        Ok(ctx_next.proceed)
    }

    /// Joins the next handler's response, which is in the host unless `is_error`, with what the guest set before it.
    #[inline]
    fn join(&mut self, is_error: bool) -> Result<(), Error> {
        self.pin.is_error = is_error;
        let exchange = self.exchange()?;
        let joined = if is_error { exchange.join_error() } else { exchange.join_response() };
        joined.map_err(|reason| {
            let error = self.refused(Phase::Response, reason);
            self.observe(Phase::Response, self.clock(), Some(&error));
            error
        })
    }

    /// Runs `handle_response`. The next handler's response is in the host, unless `is_error`. `None` if the call takes a fiber: all
    /// is ready for that then.
    #[inline]
    pub(crate) fn handle_response(&mut self, is_error: bool) -> Option<Result<(), Error>> {
        if let Err(error) = self.join(is_error) {
            return Some(Err(error));
        }
        let ignored = self.ignores_response();
        if !ignored && self.needs_fiber(Phase::Response) {
            return None;
        }
        let started = self.clock();
        let Self { store, handle_response, home, pin, .. } = self;
        let called =
            if ignored { Ok(()) } else { call(store, home.calls().deadline, handle_response, pin.params()) };
        Some(self.response_returned(called, started))
    }

    /// Goes on with that on a fiber.
    pub(crate) async fn handle_response_on_fiber(&mut self) -> Result<(), Error> {
        let started = self.clock();
        let Self { store, handle_response, home, pin, .. } = self;
        let called = call_on_fiber(store, home.calls().deadline, handle_response, pin.params()).await;
        self.response_returned(called, started)
    }

    #[inline]
    fn response_returned(
        &mut self,
        called: wasmtime::Result<()>,
        started: Option<Instant>,
    ) -> Result<(), Error> {
        let result = match called {
            Ok(()) => self.finish_response(),
            Err(error) => Err(self.failed(Phase::Response, &error)),
        };
        self.observe(Phase::Response, started, result.as_ref().err());
        result
    }

    #[inline]
    fn finish_response(&mut self) -> Result<(), Error> {
        let (exchange, engine) = self.exchange_and_engine()?;
        let finished = exchange.check_memory().map(|()| exchange.finish_response(engine));
        finished.map_err(|reason| self.refused(Phase::Response, reason))
    }

    /// Whether nothing would happen in `handle_response`.
    fn ignores_response(&self) -> bool {
        #[cfg(feature = "mutations")]
        if self.is_mutated(Mutation::ResponsePhaseSkipped) {
            return true;
        }
        self.home.calls().ignores_responses
    }

    /// The host between the phases.
    #[inline]
    pub(crate) fn host_mut(&mut self) -> Option<&mut H> {
        self.store.data_mut().exchange.as_mut().map(|exchange| &mut *exchange.host)
    }

    /// Ends the exchange; the instance is as before it.
    #[inline]
    pub(crate) fn end(&mut self) -> Result<H, Error> {
        let State { exchange, guest, .. } = self.store.data_mut();
        let host = match exchange {
            Some(exchange) => exchange.host.take(),
            None => return Err(no_exchange(guest)),
        };
        *exchange = None;
        Ok(host)
    }

    /// Undoes what the guest did to `message` before it failed with `error`: the host with that message as it came.
    /// `None` if the guest fails closed, or the message is no longer whole, or it wasn't the guest that failed.
    pub(crate) fn undo(&mut self, message: BodyKind, error: &Error) -> Option<H> {
        let exchange = self.store.data_mut().exchange.take()?;
        if error.kind().is_guests() { exchange.undo(message) } else { None }
    }

    #[inline]
    fn exchange(&mut self) -> Result<&mut Exchange<H>, Error> {
        self.exchange_and_engine().map(|(exchange, _)| exchange)
    }

    #[inline]
    fn exchange_and_engine(&mut self) -> Result<(&mut Exchange<H>, &Engine), Error> {
        let State { exchange, guest, suspension, .. } = self.store.data_mut();
        let exchange = exchange.as_mut().ok_or_else(|| no_exchange(guest))?;
        Ok((exchange, suspension.engine()))
    }

    #[inline]
    fn needs_fiber(&self, phase: Phase) -> bool {
        let calls = self.home.calls();
        if calls.always_on_fiber || calls.pace.needs_fiber() {
            return true;
        }
        let waits = match phase {
            Phase::Request => calls.request,
            Phase::Response => calls.response,
        };
        waits.sleeps
            || waits.for_message()
                && self.store.data().exchange.as_ref().is_some_and(|exchange| exchange.may_wait(waits))
    }

    /// The time, if an observer wants to know how long a call takes.
    #[inline]
    fn clock(&self) -> Option<Instant> {
        self.home.observer.as_ref().map(|_| Instant::now())
    }

    #[inline]
    fn observe(&self, phase: Phase, started: Option<Instant>, error: Option<&Error>) {
        if let (Some(observer), Some(started)) = (&self.home.observer, started) {
            let exchange = self.store.data().exchange.as_ref();
            let replayed_bytes = exchange.map_or(0, |exchange| exchange.replayed_bytes(phase));
            observer.called(&Call { phase, took: started.elapsed(), error, replayed_bytes });
        }
    }

    fn failed(&self, phase: Phase, error: &wasmtime::Error) -> Error {
        self.store.data().failed(Some(phase), error)
    }

    fn refused(&self, phase: Phase, reason: Reason) -> Error {
        Error::refused(self.store.data().guest.name.clone(), phase, &reason)
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

/// Calls a function of the guest on the caller's stack. Takes the parts of an instance, as cloning a function is not cheap.
#[inline]
fn call<H, P, R>(
    store: &mut Store<State<H>>,
    limit: Clock,
    function: &TypedFunc<P, R>,
    params: P,
) -> wasmtime::Result<R>
where
    H: Host,
    P: wasmtime::WasmParams,
    R: wasmtime::WasmResults,
{
    let ticks = store.data_mut().suspension.begin(Mode::Direct, limit);
    store.set_epoch_deadline(ticks);
    let result = function.call(&mut *store, params);
    store.data_mut().flush_output();
    result
}

/// The same on a fiber.
async fn call_on_fiber<H, P, R>(
    store: &mut Store<State<H>>,
    limit: Clock,
    function: &TypedFunc<P, R>,
    params: P,
) -> wasmtime::Result<R>
where
    H: Host,
    P: wasmtime::WasmParams + Sync,
    R: wasmtime::WasmResults + Sync,
{
    let state = store.data_mut();
    let ticks = state.suspension.begin(Mode::Fiber, limit);
    let waker = state.suspension.waker();
    let engine = state.suspension.engine().clone();
    let limit = state.guest.limits.total;
    store.set_epoch_deadline(ticks);
    let call = waker.drive(function.call_async(&mut *store, params));
    let called = engine.within(limit, call).await;
    let state = store.data_mut();
    state.suspension.end();
    state.flush_output();
    called.unwrap_or_else(|| Err(Stop::Took(limit).into()))
}

fn no_exchange(guest: &Shared) -> Error {
    Error::new(ErrorKind::Internal, guest.name.clone(), None, "there is no exchange".into())
}
