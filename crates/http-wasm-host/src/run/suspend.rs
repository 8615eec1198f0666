//! How a guest waits and how it is stopped, without one asynchronous host function.
//!
//! Calling a guest on a fiber costs more than everything else in a small exchange, and wasmtime asks for one on every
//! call once an asynchronous host function is linked. So all host functions are synchronous. One that can't answer yet
//! returns [`crate::abi::PENDING`] and makes the store's epoch deadline due; the shim around its import (see
//! `inspect::shim`) then enters a function, whose entry checks the epoch; the epoch callback here suspends the fiber;
//! and once the task is woken the shim tries the host function again. Whether a call gets a fiber at all is decided
//! call by call: [`Mode`].

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
use crate::run::compute::{Compute, ComputePermit, Line};
use crate::runtime::Task;

/// How the current call into the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On the caller's stack: nothing that the guest may call can have to wait.
    Direct,
    /// On a fiber, which may be suspended.
    Fiber,
}

/// What a store's data must provide so that its guest can be suspended.
pub(crate) trait Suspend: Send + 'static {
    fn suspension(&mut self) -> &mut Suspension;

    /// The current call computes for long: it yields, and may continue on another thread.
    fn detach(&mut self);
}

/// One store's part in waiting and stopping.
pub(crate) struct Suspension {
    engine: Engine,
    ticks: Arc<Ticks>,
    mode: Mode,
    /// A host function waits: the next epoch callback suspends until the task is woken.
    waiting: Option<WaitsFor>,
    call: CallStatus,
    /// Epoch ticks that the guest has computed for since it last waited.
    spent: u64,
    /// Those since it was last its turn.
    slice: u64,
    limit: TickLimit,
    fiber_policy: Arc<FiberPolicy>,
    compute: Arc<Compute>,
    /// What is being called, unless it is a start-up.
    phase: Option<Phase>,
    /// How often that was done, to measure some of these calls.
    calls: u32,
}

/// What a host function waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// A message's body or trailers.
    Message,
    Time,
}

/// Ticks after which a call without a fiber is first checked; it is checked again one tick later. If it hasn't ended by
/// then, it is computing: a call that was merely delayed by the machine ends within that tick.
const DIRECT_TICKS: u64 = 2;

/// Whether a guest's calls end so soon that they need no fiber.
///
/// A call without a fiber can't yield: one that computes for long holds up its thread until its deadline. So a guest is
/// called on fibers first, until it has shown that it is quick. One that holds up a thread nevertheless does so once:
/// from then on it is called on fibers for good.
#[derive(Debug)]
pub(crate) struct FiberPolicy(AtomicU32);

/// Number of quick calls after which a guest is trusted to be quick.
const PROBATION: u32 = 100;

const FOR_GOOD: u32 = u32::MAX;

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

    /// A call on a fiber has ended, and hardly computed.
    fn was_quick(&self) {
        let left = |left: u32| (left > 0 && left < FOR_GOOD).then(|| left - 1);
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    /// A call on a fiber computes for long, as a first call that fills a cache may.
    fn is_slow(&self) {
        let again = |left: u32| (left < FOR_GOOD).then_some(PROBATION);
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, again);
    }

    /// A call without a fiber computes for long.
    fn needs_fibers_for_good(&self) {
        self.0.store(FOR_GOOD, Ordering::Relaxed);
    }
}

/// Whether a guest's start-ups need no fiber.
///
/// A start-up runs the same code each time, so one that was quick on a fiber is trusted from then on. Without a fiber,
/// a start-up is stopped as soon as it takes longer, because it can be restarted: no request depends on what it has
/// done. Messages that it has logged by then are logged twice.
#[derive(Debug)]
pub(crate) struct StartFiberPolicy(AtomicU8);

/// None has been seen.
const UNKNOWN: u8 = 0;
const QUICK: u8 = 1;
/// One was stopped, or may have to wait.
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

    /// A start-up on a fiber has come to its end without computing for long.
    pub(crate) fn was_quick(&self) {
        let _ = self.0.compare_exchange(UNKNOWN, QUICK, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// One without a fiber was stopped.
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

    /// The same for a start-up, which gets less time without a fiber than on one.
    pub(crate) fn begin_start(&mut self, mode: Mode, limit: TickLimit) -> u64 {
        match mode {
            Mode::Direct => {
                self.begin(mode, TickLimit { ticks: limit.ticks.min(DIRECT_START_TICKS), ..limit })
            }
            Mode::Fiber => self.begin(mode, limit),
        }
    }

    /// Whether the call that has just ended has hardly computed.
    pub(crate) fn was_quick(&self) -> bool {
        self.spent < DIRECT_TICKS
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn call(&self) -> CallStatus {
        self.call.clone()
    }

    /// Whether nobody wants the result of the current call any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.call.is_abandoned()
    }

    /// Makes the calls from now on part of one that began before there was an instance.
    pub(crate) fn join(&mut self, call: CallStatus) {
        self.call = call;
    }

    /// A call of a phase begins, on a fiber and with a permit if its guest is heavy.
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
            // There is no task to wake, and this mode is chosen only if nothing waits.
            Mode::Direct => poll(&mut Context::from_waker(Waker::noop())),
            Mode::Fiber => poll(&mut Context::from_waker(&self.call.waker())),
        }
    }

    pub(crate) fn can_wait(&self) -> bool {
        self.mode == Mode::Fiber
    }

    /// A call on a fiber has ended.
    pub(crate) fn end(&mut self, entered: &Entered) {
        if self.spent < DIRECT_TICKS && self.fiber_policy.needs_fiber() {
            self.fiber_policy.was_quick();
        }
        if let (Some(phase), Some(computed)) = (self.phase.take(), entered.computed) {
            let weight = self.compute.weight(phase);
            weight.add(computed, &self.engine);
            if weight.is_heavy() {
                self.fiber_policy.needs_fibers_for_good();
            }
        }
    }

    fn on_epoch(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if let Some(waits_for) = self.waiting.take() {
            // Waiting is not computing: the time starts afresh.
            self.spent = 0;
            self.call.release();
            if waits_for == WaitsFor::Message {
                self.call.set_stage(Stage::Waiting);
            }
            let line = if self.has_used_slice() { Line::Long } else { Line::Pinned };
            let line = self.is_heavy().then_some(line);
            return Ok(UpdateDeadline::YieldCustom(1, self.until_resumed(UntilWoken::default(), line)));
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
                self.fiber_policy.needs_fibers_for_good();
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
                let line = self.passes_permit_on().then_some(Line::Long);
                let others = self.engine.background().yield_now();
                Ok(UpdateDeadline::YieldCustom(1, self.until_resumed(others, line)))
            }
        }
    }

    /// Whether calls like the current one need a permit to compute.
    fn is_heavy(&self) -> bool {
        self.phase.is_some_and(|phase| self.compute.weight(phase).is_heavy())
    }

    fn has_used_slice(&self) -> bool {
        self.phase.is_some_and(|phase| self.slice >= self.compute.weight(phase).slice())
    }

    /// The current call has computed for another tick. Returns whether it needs a permit for more, because it has given
    /// its own to another call, or began before its guest was known to be heavy.
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

    /// `pause` and, in a line, a permit to compute. Then the clock runs: it may have stopped in the meantime.
    fn until_resumed(&self, pause: impl Future<Output = ()> + Send + 'static, line: Option<Line>) -> Task {
        let (ticks, call) = (self.ticks.clone(), self.call.clone());
        let turn =
            line.map(|line| self.compute.queue.clone().acquire(self.engine.background().clone(), line));
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
    state.suspension().on_epoch()
}

/// Makes the guest wait, once the calling host function has returned [`crate::abi::PENDING`].
pub(crate) fn wait<T: Suspend>(caller: &mut Caller<'_, T>, waits_for: WaitsFor) {
    caller.data_mut().suspension().waiting = Some(waits_for);
    caller.as_context_mut().set_epoch_deadline(0);
}

/// A call that has begun and not ended: when this is dropped, it has.
pub(crate) struct Entered {
    pub(crate) call: CallStatus,
    /// How long it has computed, if that is measured.
    pub(crate) computed: Option<Duration>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.call.release();
        self.call.set_stage(Stage::Outside);
    }
}

/// Pending once, without waking itself: whatever the host function polled does that.
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
