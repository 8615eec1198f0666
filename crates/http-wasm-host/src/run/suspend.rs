//! How a guest is suspended and stopped, without any asynchronous host function.
//!
//! Calling a guest on a fiber costs more than everything else in a small exchange, and wasmtime requires a fiber for
//! every call once an asynchronous host function is linked. So all host functions are synchronous. A host function that
//! can't return a result yet returns [`crate::abi::PENDING`] and makes the store's epoch deadline due. The shim around
//! its import (see `inspect::shim`) then calls a function whose entry checks the epoch, and the epoch callback here
//! suspends the fiber. Once the task is woken, the shim calls the host function again. Whether a call runs on a fiber
//! at all is decided for each call: see [`Mode`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasmtime::{AsContextMut, Caller, Store, StoreContextMut, UpdateDeadline};

use crate::abi::Phase;
use crate::engine::{Engine, TickLimit, Ticks};
use crate::error::Stop;
use crate::run::call::{CallStatus, Stage};
use crate::run::compute::{Compute, ComputePermit, QueueKind};
use crate::runtime::Task;

/// How the current call into the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On the caller's stack: no function that the guest may call has to wait.
    Direct,
    /// On a fiber, which may be suspended.
    Fiber,
}

/// What a store's data must provide so that its guest can be suspended.
pub(crate) trait Suspend: Send + 'static {
    fn suspension(&mut self) -> &mut Suspension;

    /// The current call computes for long: it yields, and may continue on another thread.
    fn detach(&mut self);

    /// The guest computes at a tick.
    fn ticked(store: &StoreContextMut<'_, Self>)
    where
        Self: Sized,
    {
        let _ = store;
    }
}

/// The state that a store needs for suspending and stopping its guest.
pub(crate) struct Suspension {
    engine: Engine,
    ticks: Arc<Ticks>,
    mode: Mode,
    /// What a host function waits for, if it does. The next epoch callback then suspends the call until the task is
    /// woken.
    waiting: Option<WaitsFor>,
    call: CallStatus,
    /// Epoch ticks for which the guest has computed since it last waited.
    spent: u64,
    /// Epoch ticks for which it has computed in its current time slice.
    slice: u64,
    limit: TickLimit,
    fiber_policy: Arc<FiberPolicy>,
    compute: Arc<Compute>,
    /// The phase of the current call. `None` during start-up.
    phase: Option<Phase>,
    /// The number of calls, of which some are measured.
    calls: u32,
}

/// What a host function waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The body or trailers of a message.
    Message,
    Time,
}

/// The number of ticks after which a call without a fiber is first checked. It is checked again one tick later. If it
/// still runs then, it computes for long: a call that was merely delayed by the machine ends within that tick.
const DIRECT_TICKS: u64 = 2;

/// A call that computes for this many slices and this many ticks will probably be stopped.
const OVERRUN_SLICES: u64 = 8;
const OVERRUN_TICKS: u64 = 50;

/// Decides whether a guest's calls end so soon that they need no fiber.
///
/// A call without a fiber can't yield: if it computes for long, it blocks its thread until its deadline. So a guest is
/// called on fibers at first, until it has proved to be quick. If one of its calls nevertheless blocks a thread, all
/// later calls run on fibers.
#[derive(Debug)]
pub(crate) struct FiberPolicy(AtomicU32);

/// The number of quick calls after which a guest is considered quick.
const PROBATION: u32 = 100;

const ALWAYS: u32 = u32::MAX;

impl Default for FiberPolicy {
    fn default() -> Self {
        Self(AtomicU32::new(PROBATION))
    }
}

impl FiberPolicy {
    #[inline]
    pub(crate) fn needs_fiber(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Records that a call on a fiber has ended after computing only briefly.
    fn was_quick(&self) {
        let left = |left: u32| (left > 0 && left < ALWAYS).then(|| left - 1);
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    /// Records that a call on a fiber computes for long, as a first call that fills a cache may.
    fn is_slow(&self) {
        let again = |left: u32| (left < ALWAYS).then_some(PROBATION);
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, again);
    }

    /// Records that a call without a fiber computes for long.
    fn always_needs_fibers(&self) {
        self.0.store(ALWAYS, Ordering::Relaxed);
    }
}

/// Decides whether a guest's start-ups need no fiber.
///
/// A start-up runs the same code each time, so after a quick one on a fiber, later ones run without. Without a fiber, a
/// start-up is stopped if it takes longer. It can be restarted, since no request depends on what it has done yet, but
/// messages that it has logged by then are logged twice.
#[derive(Debug)]
pub(crate) struct StartFiberPolicy(AtomicU8);

/// No start-up has ended yet.
const UNKNOWN: u8 = 0;
const QUICK: u8 = 1;
/// A start-up was stopped, or may have to wait.
const SLOW: u8 = 2;

/// How long a start-up may take without a fiber.
const DIRECT_START_TICKS: u64 = DIRECT_TICKS + 1;

impl StartFiberPolicy {
    pub(crate) fn new(may_wait: bool) -> Self {
        Self(AtomicU8::new(if may_wait { SLOW } else { UNKNOWN }))
    }

    pub(crate) fn needs_fiber(&self) -> bool {
        self.0.load(Ordering::Relaxed) != QUICK
    }

    /// Records that a start-up on a fiber has ended without computing for long.
    pub(crate) fn was_quick(&self) {
        let _ = self.0.compare_exchange(UNKNOWN, QUICK, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records that a start-up without a fiber was stopped.
    pub(crate) fn was_slow(&self) {
        self.0.store(SLOW, Ordering::Relaxed);
    }
}

impl Suspension {
    pub(crate) fn new(engine: Engine, fiber_policy: Arc<FiberPolicy>, compute: Arc<Compute>) -> Self {
        let limit = engine.in_ticks(Duration::MAX);
        Self {
            ticks: engine.ticks().clone(),
            engine,
            mode: Mode::Direct,
            waiting: None,
            call: CallStatus::default(),
            spent: 0,
            slice: 0,
            limit,
            fiber_policy,
            compute,
            phase: None,
            calls: 0,
        }
    }

    /// Prepares a call. Returns the ticks after which the epoch callback is due, for [`set_deadline`].
    #[inline]
    pub(crate) fn begin(&mut self, mode: Mode, limit: TickLimit) -> u64 {
        self.mode = mode;
        self.limit = limit;
        self.spent = 0;
        self.waiting = None;
        match mode {
            Mode::Direct => DIRECT_TICKS.min(limit.ticks),
            Mode::Fiber => 1,
        }
    }

    /// Prepares a start-up, like [`begin`](Self::begin). It gets less time without a fiber than on one.
    pub(crate) fn begin_start(&mut self, mode: Mode, limit: TickLimit) -> u64 {
        match mode {
            Mode::Direct => {
                self.begin(mode, TickLimit { ticks: limit.ticks.min(DIRECT_START_TICKS), ..limit })
            }
            Mode::Fiber => self.begin(mode, limit),
        }
    }

    /// Whether the call that has just ended computed only briefly.
    pub(crate) fn was_quick(&self) -> bool {
        self.spent < DIRECT_TICKS
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn call(&self) -> CallStatus {
        self.call.clone()
    }

    /// Whether the result of the current call is no longer wanted.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.call.is_abandoned()
    }

    /// Makes the following calls part of a call that began before the instance existed.
    pub(crate) fn join(&mut self, call: CallStatus) {
        self.call = call;
    }

    /// Begins a call of a phase on a fiber, with a permit if the guest is heavy.
    pub(crate) fn enter(&mut self, phase: Phase, permit: Option<ComputePermit>) -> Entered {
        self.phase = Some(phase);
        self.slice = 0;
        self.calls = self.calls.wrapping_add(1);
        let measured = self.compute.weight(phase).measures(self.calls);
        let call = self.call.clone();
        if let Some(permit) = permit {
            call.grant(permit);
        }
        call.set_stage(Stage::Running);
        Entered { call, computed: measured.then_some(Duration::ZERO) }
    }

    /// Calls `poll` with the waker of the task that drives the current call.
    pub(crate) fn poll<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        match self.mode {
            // There is no task to wake, and this mode is only chosen if nothing waits.
            Mode::Direct => poll(&mut Context::from_waker(Waker::noop())),
            Mode::Fiber => poll(&mut Context::from_waker(&self.call.waker())),
        }
    }

    pub(crate) fn can_wait(&self) -> bool {
        self.mode == Mode::Fiber
    }

    /// Ends a call on a fiber.
    pub(crate) fn end(&mut self, entered: &Entered) {
        if self.spent < DIRECT_TICKS && self.fiber_policy.needs_fiber() {
            self.fiber_policy.was_quick();
        }
        if let (Some(phase), Some(computed)) = (self.phase.take(), entered.computed) {
            let weight = self.compute.weight(phase);
            weight.add(computed, &self.engine);
            if weight.is_heavy() {
                self.fiber_policy.always_needs_fibers();
            }
        }
    }

    fn on_epoch(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if let Some(waits_for) = self.waiting.take() {
            // Waiting isn't computing, so the time starts again.
            self.spent = 0;
            self.call.release();
            if waits_for == WaitsFor::Message {
                self.call.set_stage(Stage::Waiting);
            }
            let kind = if self.has_used_slice() { QueueKind::Long } else { QueueKind::Pinned };
            let kind = self.is_heavy().then_some(kind);
            return Ok(UpdateDeadline::YieldCustom(1, self.until_resumed(UntilWoken::default(), kind)));
        }
        match self.mode {
            Mode::Direct => {
                let next = match self.spent {
                    0 => DIRECT_TICKS,
                    DIRECT_TICKS => DIRECT_TICKS + 1,
                    _ => self.limit.ticks,
                };
                self.spent = next;
                if next >= self.limit.ticks {
                    return Err(self.stop());
                }
                if next == DIRECT_TICKS {
                    self.ticks.keep(1);
                    return Ok(UpdateDeadline::Continue(1));
                }
                self.fiber_policy.always_needs_fibers();
                self.ticks.keep(self.limit.ticks - next);
                Ok(UpdateDeadline::Continue(self.limit.ticks - next))
            }
            Mode::Fiber => {
                self.spent += 1;
                if self.spent == DIRECT_TICKS {
                    self.fiber_policy.is_slow();
                }
                if self.spent >= self.limit.ticks {
                    return Err(self.stop());
                }
                if self.overrun() == Some(self.spent) {
                    self.compute.overran();
                }
                let kind = self.passes_permit_on().then_some(QueueKind::Long);
                let others = self.engine.background().yield_now();
                Ok(UpdateDeadline::YieldCustom(1, self.until_resumed(others, kind)))
            }
        }
    }

    /// Whether calls like the current one need a permit to compute.
    fn is_heavy(&self) -> bool {
        self.phase.is_some_and(|phase| self.compute.weight(phase).is_heavy())
    }

    /// The number of ticks after which a call will probably be stopped: far more than its guest's calls usually take,
    /// or half of what it may take.
    fn overrun(&self) -> Option<u64> {
        let slice = self.compute.weight(self.phase?).slice();
        Some(slice.saturating_mul(OVERRUN_SLICES).max(OVERRUN_TICKS).min(self.limit.ticks / 2))
    }

    fn has_used_slice(&self) -> bool {
        self.phase.is_some_and(|phase| self.slice >= self.compute.weight(phase).slice())
    }

    /// Counts a tick for which the current call has computed. Returns whether the call now needs a permit, because it
    /// has passed its own to another call, or because it began before its guest was known to be heavy.
    fn passes_permit_on(&mut self) -> bool {
        self.slice += 1;
        if !self.is_heavy() {
            return false;
        }
        if self.call.has_permit() {
            self.compute.queue.progressed();
            if !self.has_used_slice() || !self.compute.queue.has_waiters() {
                return false;
            }
            self.call.release();
        }
        self.slice = 0;
        true
    }

    /// Waits for `pause` and then, with the `kind` of a queue, for a permit to compute. Then it restarts the ticker,
    /// which may have stopped meanwhile.
    fn until_resumed(
        &self,
        pause: impl Future<Output = ()> + Send + 'static,
        kind: Option<QueueKind>,
    ) -> Task {
        let (ticks, call) = (self.ticks.clone(), self.call.clone());
        let turn =
            kind.map(|kind| self.compute.queue.clone().acquire(self.engine.background().clone(), kind));
        Box::pin(async move {
            pause.await;
            call.set_stage(Stage::Running);
            if let Some(turn) = turn {
                call.grant(turn.await);
            }
            ticks.keep(1);
        })
    }

    fn stop(&self) -> wasmtime::Error {
        Stop::Computed(self.limit.duration).into()
    }
}

/// Makes the epoch callback of a call due after this many ticks.
#[inline]
pub(crate) fn set_deadline<T: Suspend>(store: &mut Store<T>, ticks: u64) {
    store.set_epoch_deadline(ticks);
    store.data_mut().suspension().ticks.keep(ticks);
}

/// The store's epoch callback.
pub(crate) fn on_epoch<T: Suspend>(mut store: StoreContextMut<'_, T>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data_mut();
    let (computes, fiber) = {
        let suspension = state.suspension();
        (suspension.waiting.is_none(), suspension.mode == Mode::Fiber)
    };
    if computes && fiber {
        state.detach();
    }
    if computes {
        T::ticked(&store);
    }
    store.data_mut().suspension().on_epoch()
}

/// Makes the guest wait, once the calling host function has returned [`crate::abi::PENDING`].
pub(crate) fn wait<T: Suspend>(caller: &mut Caller<'_, T>, waits_for: WaitsFor) {
    caller.data_mut().suspension().waiting = Some(waits_for);
    caller.as_context_mut().set_epoch_deadline(0);
}

/// A call in progress. The call ends when this is dropped.
pub(crate) struct Entered {
    pub(crate) call: CallStatus,
    /// How long it has computed, if this call is measured.
    pub(crate) computed: Option<Duration>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.call.release();
        self.call.set_stage(Stage::Outside);
    }
}

/// Is pending once, without waking itself: whatever the host function has polled does that.
#[derive(Default)]
struct UntilWoken {
    polled: bool,
}

impl Future for UntilWoken {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.polled, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}
