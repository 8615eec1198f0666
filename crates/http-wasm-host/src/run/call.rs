//! The state that a call into a guest shares with its caller.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::run::compute::ComputePermit;

/// The part of a call's state that is accessible from the guest's stack and from outside. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct CallStatus(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// The waker of the task that polls the call. Host functions need it: they run on the guest's stack, which no
    /// `Context` reaches.
    waker: Mutex<Option<Waker>>,
    stage: AtomicU8,
    abandoned: AtomicBool,
    has_permit: AtomicBool,
    permit: Mutex<Option<ComputePermit>>,
}

/// What a call does while it isn't being polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// None of the guest's code has begun to run.
    Outside = 0,
    /// It computes or sleeps: it ends without any input from outside.
    Running = 1,
    /// It waits for the body or trailers of a message.
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

    /// Whether the result is no longer wanted.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.abandoned.load(Ordering::Relaxed)
    }

    pub(crate) fn abandon(&self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_permit(&self) -> bool {
        self.0.has_permit.load(Ordering::Relaxed)
    }

    /// Gives the call a permit to compute.
    pub(crate) fn grant(&self, permit: ComputePermit) {
        let earlier = self.permit().replace(permit);
        self.0.has_permit.store(true, Ordering::Relaxed);
        drop(earlier);
    }

    /// Returns the call's permit, if it has one.
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

    /// Drives `call` so that its host functions can be woken. The time for which it runs is added to `computed`.
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
