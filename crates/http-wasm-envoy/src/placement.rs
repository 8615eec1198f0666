//! Moves what computes for a long time from the worker to other threads.

use std::future::Future;
use std::mem::replace;

use crate::compute::CallHandle;
use crate::process::process;

/// Where something is that runs guests: `L` on the worker, or a call with the result `R` on the threads for long
/// computations.
pub(crate) enum Placement<L, R> {
    OnWorker(L),
    OnThread(CallHandle<R>),
    /// It is being moved, has ended, or didn't find room on the threads.
    Taken,
}

impl<L, R: Send + 'static> Placement<L, R> {
    pub(crate) fn is_on_worker(&self) -> bool {
        matches!(self, Self::OnWorker(_))
    }

    /// Moves it from the worker to the threads for long computations, where it runs as `call`, unless they already have
    /// too many calls.
    pub(crate) fn move_to_thread<F>(&mut self, call: impl FnOnce(L) -> F)
    where
        F: Future<Output = R> + Send + 'static,
    {
        if let Self::OnWorker(local) = replace(self, Self::Taken)
            && let Some(running) = process().threads.run(call(local))
        {
            *self = Self::OnThread(running);
        }
    }
}
