//! Calls that continue after their result is no longer wanted.
//!
//! An instance may have cost a start-up of hundreds of milliseconds. It therefore isn't dropped when a client
//! disconnects while the guest computes: the call continues in the background until it ends, and the instance is kept.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tracing::Instrument as _;

use crate::run::call::{CallStatus, Stage};
use crate::run::shared::Shared;
use crate::stats::AbandonedCount;

/// A guest's call that was abandoned, and that continues in the background: the guest was computing, or was writing a
/// message while that was sent. [`Progress::abandon`](crate::Progress::abandon) and
/// [`RequestStream::abandon`](crate::RequestStream::abandon) return one.
///
/// The guest doesn't notice: it can read what was received, and what it writes is discarded. If it passes the request
/// on, the next handler isn't called, and the guest is notified that there is no response. Its time limits still apply.
///
/// If you limit how many requests a client may have in progress, let the call [hold](Self::hold) the client's permit
/// until it ends. Otherwise the client could start any number of calls by abandoning each.
#[derive(Clone, Default)]
pub struct AbandonedCall(Arc<Mutex<Vec<Box<dyn Any + Send>>>>);

impl AbandonedCall {
    /// Keeps `what` until the call has ended.
    pub fn hold(&self, what: impl Send + 'static) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.push(Box::new(what));
    }
}

impl fmt::Debug for AbandonedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbandonedCall").finish_non_exhaustive()
    }
}

/// A call that can continue after its result is no longer wanted.
pub(super) trait RunningCall<T>: Future<Output = T> + Send {
    /// Continues the call in the background if its guest computes, or if it waits and `waits_no_more` says that what it
    /// waits for has ended. Drops it otherwise.
    fn abandon(self: Pin<Box<Self>>, waits_no_more: bool) -> Option<AbandonedCall>;
}

pin_project! {
    /// The future of a call, and the state of the call that others can see.
    pub(super) struct Running<F> {
        #[pin]
        future: F,
        call: CallStatus,
        shared: Arc<Shared>,
        // Still set after a panic.
        is_polled: bool,
    }
}

impl<F> Running<F> {
    pub(super) fn new(future: F, call: CallStatus, shared: Arc<Shared>) -> Self {
        Self { future, call, shared, is_polled: false }
    }
}

impl<F: Future> Future for Running<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        *this.is_polled = true;
        let polled = this.future.poll(cx);
        *this.is_polled = false;
        polled
    }
}

impl<F: Future + Send + 'static> RunningCall<F::Output> for Running<F> {
    fn abandon(self: Pin<Box<Self>>, waits_no_more: bool) -> Option<AbandonedCall> {
        let continued = match self.call.stage() {
            Stage::Running => true,
            Stage::Waiting => waits_no_more,
            Stage::Outside => false,
        };
        if self.is_polled || !continued {
            return None;
        }
        let count = AbandonedCount::one_more(&self.shared.counters)?;
        let (call, shared) = (self.call.clone(), self.shared.clone());
        call.abandon();
        let abandoned = AbandonedCall::default();
        let continued = Continued { future: self, call, _held: abandoned.clone(), _count: count };
        let spawned = shared.engine.background().spawn_on_runtime(Box::pin(continued.in_current_span()));
        spawned.ok().map(|()| abandoned)
    }
}

/// The rest of a call that continues in the background.
struct Continued<F> {
    future: Pin<Box<Running<F>>>,
    call: CallStatus,
    _held: AbandonedCall,
    _count: AbandonedCount,
}

impl<F: Future> Future for Continued<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            // An abandoned request receives no more of its body.
            Poll::Pending if self.call.stage() == Stage::Waiting => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }
}
