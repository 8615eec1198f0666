//! Wakers that resume a stream's task on its worker.
#![expect(unsafe_code, reason = "Envoy's scheduler is called from any thread")]

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use crate::ffi::{SchedulerPtr, callbacks};

/// Calls a stream's `scheduled` hook on its worker. Envoy drops such calls after the end of the stream.
pub(crate) struct Scheduler(SchedulerPtr);

// SAFETY: Envoy documents that events may be committed, and the scheduler deleted, on any thread.
unsafe impl Send for Scheduler {}

impl Scheduler {
    /// # Safety
    /// `ptr` must come from `http_filter_scheduler_new`, and nothing else may delete it.
    pub(crate) unsafe fn new(ptr: SchedulerPtr) -> Self {
        Self(ptr)
    }

    fn commit(&self) {
        if let Some(envoy) = callbacks() {
            // SAFETY: it is deleted only when this is dropped.
            unsafe { (envoy.http_filter_scheduler_commit)(self.0, 0) };
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        if let Some(envoy) = callbacks() {
            // SAFETY: only this deletes it.
            unsafe { (envoy.http_filter_scheduler_delete)(self.0) };
        }
    }
}

/// Wakes a stream's task. Most streams never wait for anything, so what is shared with other threads is only allocated
/// when it is first needed.
#[derive(Default)]
pub(crate) struct StreamWaker(OnceCell<Arc<Shared>>);

impl StreamWaker {
    fn shared(&self) -> &Arc<Shared> {
        self.0.get_or_init(Arc::default)
    }

    pub(crate) fn waker(&self) -> Waker {
        self.shared().clone().into()
    }

    /// Whether it has been woken since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.get().is_some_and(|shared| shared.take())
    }

    /// Called when the worker handles an event.
    pub(crate) fn scheduled(&self) {
        if let Some(shared) = self.0.get() {
            shared.scheduled();
        }
    }

    /// From now on, wake-ups go through the scheduler. Returns `false` if it has already been woken.
    pub(crate) fn arm(&self, scheduler: impl FnOnce() -> Option<Scheduler>) -> bool {
        self.shared().arm(scheduler)
    }

    /// Calls the `scheduled` hook once the current one has returned.
    pub(crate) fn schedule(&self, scheduler: impl FnOnce() -> Option<Scheduler>) {
        self.shared().schedule(scheduler);
    }

    /// Stops wake-ups, since the stream has ended.
    pub(crate) fn disarm(&self) {
        if let Some(shared) = self.0.get() {
            shared.disarm();
        }
    }
}

/// Sets a flag that the worker checks after polling the task and, once armed, calls the scheduler.
#[derive(Default)]
struct Shared {
    woken: AtomicBool,
    /// Whether the worker hasn't handled an event yet. One is enough until then.
    is_scheduled: AtomicBool,
    scheduler: Mutex<Option<Scheduler>>,
}

impl Shared {
    fn take(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    fn scheduled(&self) {
        self.is_scheduled.store(false, Ordering::Release);
        self.take();
    }

    fn arm(&self, scheduler: impl FnOnce() -> Option<Scheduler>) -> bool {
        let mut current = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
        if current.is_none() {
            *current = scheduler();
        }
        !self.woken.load(Ordering::Acquire)
    }

    fn schedule(&self, scheduler: impl FnOnce() -> Option<Scheduler>) {
        self.arm(scheduler);
        self.commit(self.scheduler.lock().unwrap_or_else(PoisonError::into_inner).as_ref());
    }

    fn commit(&self, scheduler: Option<&Scheduler>) {
        if let Some(scheduler) = scheduler
            && !self.is_scheduled.swap(true, Ordering::AcqRel)
        {
            scheduler.commit();
        }
    }

    fn disarm(&self) {
        let scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(scheduler);
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
        self.woken.store(true, Ordering::Release);
        self.commit(scheduler.as_ref());
    }
}
