//! A store with its exports: what a pool holds.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::{Store, TypedFunc};

use crate::abi::{BodyKind, CtxNext, Features, Phase};
use crate::bodies::Stream;
use crate::engine::TickLimit;
use crate::error::{Error, ErrorKind, Reason, Stop};
use crate::exchange::{Committed, Exchange};
use crate::host::Host;
use crate::message::StreamWriter;
use crate::observer::Call;
use crate::rule::Rule;
use crate::run::call::CallStatus;
use crate::run::compute::ComputePermit;
use crate::run::link::Exports;
use crate::run::pin::{Next, NextResult, Pin};
use crate::run::shared::{NeedsFibers, Shared};
use crate::run::state::State;
use crate::run::suspend::{Entered, Mode, set_deadline};
use crate::runtime::Background;
use crate::stats::Live;
use crate::trace::TraceEvent;

/// A store with its exports. One request at a time uses it, as `&mut` ensures.
pub(crate) struct Instance<H: Host> {
    store: Store<State<H>>,
    handle_request: TypedFunc<(), u64>,
    handle_response: TypedFunc<(u32, u32), ()>,
    pub(crate) pin: Pin,
    /// The size of its memories after start-up, in bytes.
    start_size: usize,
    _live: Live,
}

impl<H: Host> Instance<H> {
    /// An instance that has completed its start-up.
    pub(crate) fn new(mut store: Store<State<H>>, exports: Exports, live: Live) -> Self {
        let Exports { memory, handle_request, handle_response } = exports;
        store.data_mut().memory = Some(memory);
        let start_size = store.data().quota.memory();
        Self { store, handle_request, handle_response, pin: Pin::default(), start_size, _live: live }
    }

    /// The state shared with the guest's other instances.
    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.store.data().guest
    }

    /// The features enabled during start-up.
    pub(crate) fn features(&self) -> Features {
        self.store.data().features
    }

    /// The size of the guest's memories in bytes.
    pub(crate) fn memory_size(&self) -> usize {
        self.store.data().quota.memory()
    }

    /// Starts an exchange.
    #[inline]
    pub(crate) fn begin(&mut self, host: H) {
        let state = self.store.data_mut();
        state.quota.begin(host.is_sheddable());
        state.wasi.begin();
        let exchange = &mut state.exchange;
        exchange.begin(host, state.features, state.guest.on_failure);
        if let Some(decoded) = &state.guest.decoded_bodies {
            exchange.decode_bodies(decoded);
        }
        if state.guest.stream != Stream::Off {
            exchange.stream(state.guest.stream);
        }
        self.pin = Pin::default();
    }

    /// Where its exchange leaves the phase's message as soon as its head can be sent, if the guest streams it.
    pub(crate) fn committed(&self) -> Option<Arc<Committed<H>>> {
        self.store.data().exchange.ongoing().and_then(Exchange::committed).cloned()
    }

    /// The guest's end of the request's body, if that has been sent while the guest wrote it.
    pub(crate) fn streamed_request(&self) -> Option<StreamWriter> {
        if !self.shared().streams(Phase::Request) {
            return None;
        }
        self.store.data().exchange.ongoing().and_then(Exchange::streamed_request)
    }

    /// The state that its calls share with their caller.
    pub(crate) fn call_status(&self) -> CallStatus {
        self.store.data().suspension.call()
    }

    /// Makes its calls part of a call that began before the instance existed.
    pub(crate) fn join_call(&mut self, call: CallStatus) {
        self.store.data_mut().suspension.join(call);
    }

    /// Whether its memory, or a tracer's record of it, has grown too large for it to be kept idle.
    #[inline]
    pub(crate) fn has_outgrown(&self) -> bool {
        if let Some(traced) = &self.store.data().traced
            && traced.is_done()
        {
            return true;
        }
        let growth = self.memory_size().saturating_sub(self.start_size);
        growth > self.store.data().guest.limits.retained_growth
    }

    /// Calls the guest's function for this phase on the caller's stack. Returns `None` if the call needs a fiber; use
    /// [`call_on_fiber`](Self::call_on_fiber) then.
    #[inline(always)]
    pub(crate) fn call(&mut self, phase: Phase) -> Option<Result<(), Error>> {
        if phase == Phase::Response && self.ignores_response() {
            let started = self.clock();
            return Some(self.returned(phase, Ok(0), started));
        }
        if self.needs_fiber(phase) {
            return None;
        }
        let started = self.entered(phase);
        let deadline = self.shared().calls.deadline;
        let Self { store, handle_request, handle_response, pin, .. } = self;
        let called = match phase {
            Phase::Request => call(store, deadline, handle_request, ()),
            Phase::Response => call(store, deadline, handle_response, pin.params()).map(|()| 0),
        };
        Some(self.returned(phase, called, started))
    }

    /// Calls the guest's function for this phase on a fiber.
    pub(crate) async fn call_on_fiber(
        &mut self,
        phase: Phase,
        permit: Option<ComputePermit>,
    ) -> Result<(), Error> {
        let started = self.entered(phase);
        let deadline = self.shared().calls.deadline;
        let Self { store, handle_request, handle_response, pin, .. } = self;
        let called = match phase {
            Phase::Request => {
                let entered = store.data_mut().suspension.enter(phase, permit);
                call_on_fiber(store, entered, deadline, handle_request, ()).await
            }
            Phase::Response => {
                let entered = store.data_mut().suspension.enter(phase, permit);
                let called = call_on_fiber(store, entered, deadline, handle_response, pin.params()).await;
                called.map(|()| 0)
            }
        };
        self.returned(phase, called, started)
    }

    /// Handles the result of the guest's function: an error, or a packed result if it is `handle_request`. If it has
    /// succeeded, the phase's message is ready to continue.
    #[inline(always)]
    fn returned(
        &mut self,
        phase: Phase,
        called: wasmtime::Result<u64>,
        started: Option<Instant>,
    ) -> Result<(), Error> {
        let result = match called {
            Ok(packed) => self.finish(phase, packed),
            Err(error) => Err(self.failed(phase, &error)),
        };
        self.observe(phase, started, result.as_ref().err());
        result
    }

    #[inline(always)]
    fn finish(&mut self, phase: Phase, packed: u64) -> Result<(), Error> {
        let ctx_next = self.unpack(packed);
        let (exchange, background) = self.exchange_and_background()?;
        if let Err(reason) = exchange.finish(ctx_next.proceed, background) {
            return Err(self.refused(phase, reason));
        }
        if phase == Phase::Request {
            self.pin.req_ctx = ctx_next.req_ctx;
            self.pin.next = if ctx_next.proceed { Next::Proceed } else { Next::Stop };
        }
        Ok(())
    }

    #[inline]
    fn unpack(&self, packed: u64) -> CtxNext {
        let broken = self.shared().broken;
        let CtxNext { mut proceed, mut req_ctx } = CtxNext::unpack(packed);
        proceed &= !broken.is(Rule::AnyNextProceeds) || packed as u32 == 1;
        proceed |= broken.is(Rule::ZeroStops);
        req_ctx &= if broken.is(Rule::ReqCtxWhole) { u32::MAX >> 1 } else { u32::MAX };
        req_ctx *= u32::from(!broken.is(Rule::ReqCtxPassed));
        CtxNext { proceed, req_ctx }
    }

    /// Swaps the exchanges of two instances; see [`Rule::SameInstance`].
    pub(crate) fn swap_exchanges(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.store.data_mut().exchange, &mut other.store.data_mut().exchange);
        std::mem::swap(&mut self.pin, &mut other.pin);
    }

    /// Merges the result of the next handler, whose response is in the host, with what the guest has set before.
    /// `handle_response` can be called afterwards.
    #[inline]
    pub(crate) fn join(&mut self, next_result: NextResult) -> Result<(), Error> {
        self.pin.next_result = next_result;
        let (exchange, _) = self.exchange_and_background()?;
        let joined = match next_result {
            NextResult::Response => exchange.join_response(),
            NextResult::Error => exchange.join_error(),
        };
        joined.map_err(|reason| {
            let error = self.refused(Phase::Response, reason);
            self.observe(Phase::Response, self.clock(), Some(&error));
            error
        })
    }

    /// Whether `handle_response` would do nothing.
    fn ignores_response(&self) -> bool {
        let shared = self.shared();
        shared.calls.ignores_responses || shared.broken.is(Rule::ResponseHandled)
    }

    /// The host, between the two calls.
    #[inline]
    pub(crate) fn host_mut(&mut self) -> Option<&mut H> {
        self.store.data_mut().exchange.ongoing_mut().map(|exchange| &mut *exchange.host)
    }

    /// Ends the exchange, and resets the instance to its state before it.
    #[inline]
    pub(crate) fn end(&mut self) -> Result<H, Error> {
        let State { exchange, guest, .. } = self.store.data_mut();
        exchange.end().ok_or_else(|| no_exchange(guest))
    }

    /// Undoes what the guest did to `message` before it failed with `error`. Returns the host with the original
    /// message, or `None` if the guest fails closed, the message is no longer complete, or the failure wasn't the
    /// guest's.
    pub(crate) fn undo(&mut self, message: BodyKind, error: &Error) -> Option<H> {
        let exchange = self.store.data_mut().exchange.ongoing_mut()?;
        let original = if error.kind().is_guest_fault() { exchange.undo(message) } else { None };
        drop(exchange.end());
        original
    }

    #[inline]
    fn exchange_and_background(&mut self) -> Result<(&mut Exchange<H>, &Background), Error> {
        let State { exchange, guest, suspension, .. } = self.store.data_mut();
        let exchange = exchange.ongoing_mut().ok_or_else(|| no_exchange(guest))?;
        Ok((exchange, suspension.engine().background()))
    }

    #[inline]
    fn needs_fiber(&self, phase: Phase) -> bool {
        let calls = &self.shared().calls;
        let needs_fibers = match phase {
            Phase::Request => calls.request_fibers,
            Phase::Response => calls.response_fibers,
        };
        let needs_fiber = match needs_fibers {
            NeedsFibers::Always => true,
            NeedsFibers::UnlessQuick => calls.fiber_policy.needs_fiber(),
            NeedsFibers::ToWait => false,
        };
        if needs_fiber {
            return true;
        }
        if self.shared().streams(phase) {
            return true;
        }
        let waits = match phase {
            Phase::Request => calls.request,
            Phase::Response => calls.response,
        };
        waits.sleeps
            || waits.for_message()
                && self.store.data().exchange.ongoing().is_some_and(|exchange| exchange.may_wait(waits))
    }

    /// Traces that the guest's function for this phase is about to be called.
    #[inline]
    fn entered(&self, phase: Phase) -> Option<Instant> {
        self.store.data().trace(|| {
            let (req_ctx, is_error) = match phase {
                Phase::Request => (0, 0),
                Phase::Response => self.pin.params(),
            };
            let exchange = self.store.data().exchange.ongoing();
            let trace_id = exchange.map_or(0, |exchange| exchange.host.trace_id());
            TraceEvent::Entered { phase, trace_id, req_ctx, is_error: is_error != 0 }
        });
        self.clock()
    }

    /// The current time, if an observer or tracer needs the duration of calls.
    #[inline]
    fn clock(&self) -> Option<Instant> {
        let shared = self.shared();
        (shared.observer.is_some() || shared.hook.is_some()).then(Instant::now)
    }

    #[inline]
    fn observe(&self, phase: Phase, started: Option<Instant>, error: Option<&Error>) {
        if let Some(started) = started {
            self.report(phase, started, error);
        }
    }

    fn report(&self, phase: Phase, started: Instant, error: Option<&Error>) {
        self.store.data().trace(|| {
            let proceeds = self.pin.next == Next::Proceed;
            let (req_ctx, took) = (self.pin.req_ctx, started.elapsed());
            TraceEvent::Returned { phase, proceeds, req_ctx, error, took }
        });
        if let Some(observer) = &self.shared().observer {
            let exchange = self.store.data().exchange.ongoing();
            let replayed_bytes = exchange.map_or(0, |exchange| exchange.replayed_bytes(phase));
            observer
                .called(&self.shared().name, &Call { phase, took: started.elapsed(), error, replayed_bytes });
        }
    }

    fn failed(&self, phase: Phase, error: &wasmtime::Error) -> Error {
        self.store.data().failed(Some(phase), error)
    }

    fn refused(&self, phase: Phase, reason: Reason) -> Error {
        Error::refused(self.store.data().guest.name.clone(), phase, &reason)
    }
}

/// Calls a function of the guest on the caller's stack. It takes the parts of an instance, since cloning a function
/// isn't cheap.
#[inline]
fn call<H, P, R>(
    store: &mut Store<State<H>>,
    limit: TickLimit,
    function: &TypedFunc<P, R>,
    params: P,
) -> wasmtime::Result<R>
where
    H: Host,
    P: wasmtime::WasmParams,
    R: wasmtime::WasmResults,
{
    let ticks = store.data_mut().suspension.begin(Mode::Direct, limit);
    set_deadline(store, ticks);
    let result = function.call(&mut *store, params);
    store.data_mut().flush_output();
    result
}

/// Calls a function of the guest on a fiber.
async fn call_on_fiber<H, P, R>(
    store: &mut Store<State<H>>,
    mut entered: Entered,
    limit: TickLimit,
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
    let background = state.suspension.engine().background().clone();
    let (limit, longer) = (state.guest.limits.total, state.guest.limits.stream_total);
    let committed = state.exchange.ongoing().and_then(Exchange::committed).cloned();
    set_deadline(store, ticks);
    let Entered { call, computed } = &mut entered;
    let call = call.drive(function.call_async(&mut *store, params), computed.as_mut());
    let called = match committed {
        None => background.within(limit, call).await.ok_or(limit),
        Some(committed) => {
            let streams = || committed.is_committed().then_some(longer);
            background.within_longer(limit, streams, call).await
        }
    };
    let state = store.data_mut();
    state.suspension.end(&entered);
    drop(entered);
    state.flush_output();
    called.unwrap_or_else(|limit| Err(Stop::Took(limit).into()))
}

fn no_exchange(guest: &Shared) -> Error {
    Error::new(ErrorKind::Internal, guest.name.clone(), None, "there is no exchange".into())
}
