//! What a call into a guest shares with whoever drives it.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::run::compute::ComputePermit;

/// The part of a call that is reached both from the guest's stack and from outside. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct CallStatus(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Of the task that polls the call, for host functions: they run on the guest's stack, where no `Context` is handed
    /// down.
    waker: Mutex<Option<Waker>>,
    stage: AtomicU8,
    abandoned: AtomicBool,
    has_permit: AtomicBool,
    permit: Mutex<Option<ComputePermit>>,
}

/// What a call is doing while it isn't polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// No code of the guest has begun to run.
    Outside = 0,
    /// It computes, or sleeps: nobody outside is needed for it to end.
    Running = 1,
    /// It waits for a message's body or trailers.
    Waiting = 2,
}

impl CallStatus {
    pub(crate) fn stage(&self) -> Stage {
        match self.0.stage.load(Ordering::Relaxed) {
            1 => Stage::Running,
            2 => Stage::Waiting,
            _ => Stage::Outside,
        }
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.0.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Whether nobody wants the result any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.abandoned.load(Ordering::Relaxed)
    }

    pub(crate) fn abandon(&self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_permit(&self) -> bool {
        self.0.has_permit.load(Ordering::Relaxed)
    }

    /// Lets the call compute.
    pub(crate) fn grant(&self, permit: ComputePermit) {
        let earlier = self.permit().replace(permit);
        self.0.has_permit.store(true, Ordering::Relaxed);
        drop(earlier);
    }

    /// Gives the permit to another call, if this one has any.
    pub(crate) fn release(&self) {
        if self.0.has_permit.swap(false, Ordering::Relaxed) {
            let permit = self.permit().take();
            drop(permit);
        }
    }

    fn permit(&self) -> MutexGuard<'_, Option<ComputePermit>> {
        self.0.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn waker(&self) -> Waker {
        self.lock_waker().as_ref().map_or_else(|| Waker::noop().clone(), Waker::clone)
    }

    fn set_waker(&self, new: &Waker) {
        let mut waker = self.lock_waker();
        match waker.as_mut() {
            Some(old) => old.clone_from(new),
            None => *waker = Some(new.clone()),
        }
    }

    fn lock_waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives `call` so that its host functions can be woken. The time in which it runs is added to `computed`.
    pub(crate) async fn drive<F: Future>(&self, call: F, mut computed: Option<&mut Duration>) -> F::Output {
        let mut call = pin!(call);
        std::future::poll_fn(|cx| {
            self.set_waker(cx.waker());
            let Some(computed) = &mut computed else { return call.as_mut().poll(cx) };
            let began = Instant::now();
            let polled = call.as_mut().poll(cx);
            **computed += began.elapsed();
            polled
        })
        .await
    }
}
