//! How a guest waits and how it is stopped, without one asynchronous host function.
//!
//! Calling a guest on a fiber costs more than everything else in a small exchange, and wasmtime asks for one
//! on every call once an asynchronous host function is linked. So all host functions are synchronous. One that
//! can't answer yet returns [`crate::abi::PENDING`] and makes the store's epoch deadline due; the shim
//! around its import (see `inspect::shim`) then enters a function, whose entry checks the epoch; the epoch callback here
//! suspends the fiber; and once the task is woken the shim tries the host function again. Whether a call gets
//! a fiber at all is decided call by call: [`Mode`].

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use wasmtime::{AsContextMut, Caller, StoreContextMut, UpdateDeadline};

use crate::engine::{Clock, Engine};
use crate::error::Stop;

/// How the current call into the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On the caller's stack: nothing that the guest may call can have to wait.
    Direct,
    /// On a fiber, which may be suspended.
    Fiber,
}

/// What a store's data must tell so that its guest can be suspended.
pub(crate) trait Suspend: Send + 'static {
    fn suspension(&mut self) -> &mut Suspension;
}

/// One store's part in waiting and stopping.
pub(crate) struct Suspension {
    engine: Engine,
    mode: Mode,
    /// A host function waits: the next epoch callback suspends until the task is woken.
    waiting: bool,
    waker: TaskWaker,
    /// Epoch ticks that the guest has computed for since it last waited.
    spent: u64,
    limit: Clock,
    /// Set when a call without a fiber computes for so long that the guest should have had one.
    slow: Arc<AtomicBool>,
}

/// Ticks that a call without a fiber may take before its guest is called on fibers for good.
const DIRECT_TICKS: u64 = 2;

impl Suspension {
    pub(crate) fn new(engine: Engine, slow: Arc<AtomicBool>) -> Self {
        let limit = engine.clock(std::time::Duration::MAX);
        Self {
            engine,
            mode: Mode::Direct,
            waiting: false,
            waker: TaskWaker::default(),
            spent: 0,
            limit,
            slow,
        }
    }

    /// Prepares a call. Returns the ticks after which the epoch callback is due.
    pub(crate) fn begin(&mut self, mode: Mode, limit: Clock) -> u64 {
        self.mode = mode;
        self.limit = limit;
        self.spent = 0;
        self.waiting = false;
        match mode {
            Mode::Direct => DIRECT_TICKS.min(limit.ticks),
            Mode::Fiber => 1,
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn waker(&self) -> TaskWaker {
        self.waker.clone()
    }

    /// Calls `poll` with the waker of the task that drives the current call.
    pub(crate) fn poll<T>(&self, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        match self.mode {
            // Nobody could be woken, and whoever chose this mode knows that nothing waits.
            Mode::Direct => poll(&mut Context::from_waker(Waker::noop())),
            Mode::Fiber => poll(&mut Context::from_waker(&self.waker.get())),
        }
    }

    pub(crate) fn can_wait(&self) -> bool {
        self.mode == Mode::Fiber
    }

    fn on_epoch(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if std::mem::take(&mut self.waiting) {
            // Waiting is not computing: the time starts afresh.
            self.spent = 0;
            return Ok(UpdateDeadline::YieldCustom(1, Box::pin(UntilWoken::default())));
        }
        match self.mode {
            Mode::Direct if self.spent == 0 => {
                self.slow.store(true, Ordering::Relaxed);
                self.spent = DIRECT_TICKS;
                match self.limit.ticks.saturating_sub(DIRECT_TICKS) {
                    0 => Err(self.stop()),
                    rest => Ok(UpdateDeadline::Continue(rest)),
                }
            }
            Mode::Direct => Err(self.stop()),
            Mode::Fiber => {
                self.spent += 1;
                if self.spent >= self.limit.ticks {
                    return Err(self.stop());
                }
                Ok(UpdateDeadline::YieldCustom(1, self.engine.runtime().yield_now()))
            }
        }
    }

    fn stop(&self) -> wasmtime::Error {
        Stop::Computed(self.limit.duration).into()
    }
}

/// The store's epoch callback.
pub(crate) fn on_epoch<T: Suspend>(mut store: StoreContextMut<'_, T>) -> wasmtime::Result<UpdateDeadline> {
    store.data_mut().suspension().on_epoch()
}

/// Makes the guest wait, once the calling host function has returned [`crate::abi::PENDING`].
pub(crate) fn wait<T: Suspend>(caller: &mut Caller<'_, T>) {
    caller.data_mut().suspension().waiting = true;
    caller.as_context_mut().set_epoch_deadline(0);
}

/// The waker of the task that polls a call, where host functions find it: they run on the guest's stack,
/// where no `Context` is handed down.
#[derive(Clone, Default)]
pub(crate) struct TaskWaker(Arc<Mutex<Option<Waker>>>);

impl TaskWaker {
    fn get(&self) -> Waker {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waker.as_ref().map_or_else(|| Waker::noop().clone(), Waker::clone)
    }

    fn set(&self, new: &Waker) {
        let mut waker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waker.as_mut() {
            Some(old) => old.clone_from(new),
            None => *waker = Some(new.clone()),
        }
    }

    /// Drives `call` so that its host functions can be woken.
    pub(crate) async fn drive<F: Future>(self, call: F) -> F::Output {
        let mut call = std::pin::pin!(call);
        std::future::poll_fn(|cx| {
            self.set(cx.waker());
            call.as_mut().poll(cx)
        })
        .await
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
