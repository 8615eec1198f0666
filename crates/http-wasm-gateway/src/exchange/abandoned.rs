//! The permits of a request that are held by guests' calls which continue after their result is no longer wanted.
//!
//! A guest that computes isn't stopped when its client disconnects, nor one that is writing the request when a guest in
//! front of it responds. If the client's permits were released at once, it could start call after call.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use http_wasm_tower::AbandonedCall;

/// The calls of a request's guests that continue after they were abandoned.
#[derive(Debug, Default)]
pub(crate) struct Abandoned {
    /// Present if there are any.
    calls: OnceLock<AbandonedCalls>,
    /// Those that continue when the response is dropped. Present if a guest continues to run while that is sent.
    stream_calls: OnceLock<AbandonedCalls>,
}

impl Abandoned {
    /// Called when `call` continues.
    pub(crate) fn add(&self, call: AbandonedCall) {
        self.calls.get_or_init(AbandonedCalls::default).add(call);
    }

    /// A guest has started to write a response, and continues to run while that is sent.
    pub(crate) fn streams(&self) -> AbandonedCalls {
        self.stream_calls.get_or_init(AbandonedCalls::default).clone()
    }

    /// If one does, the calls that continue when the response is dropped.
    pub(crate) fn stream_calls(&self) -> Option<&AbandonedCalls> {
        self.stream_calls.get()
    }

    /// A permit of the request. When the result is dropped, the calls hold it.
    pub(crate) fn share<T: Share>(&self, share: T) -> Shared<'_, T> {
        Shared { share: Some(share), abandoned: self }
    }

    /// Lets the calls, if there are any, hold what this returns until they end.
    pub(crate) fn hold<T: Send + Sync + 'static>(&self, held: impl FnOnce() -> Arc<T>) {
        if let Some(calls) = self.calls.get() {
            calls.hold(held);
        }
    }
}

/// Calls of guests that continue after they were abandoned. Cheap to clone; all clones share the list.
#[derive(Debug, Clone, Default)]
pub(crate) struct AbandonedCalls(Arc<Mutex<Vec<AbandonedCall>>>);

impl AbandonedCalls {
    /// Called when `call` continues.
    pub(crate) fn add(&self, call: AbandonedCall) {
        self.list().push(call);
    }

    /// Lets the calls, if there are any, hold what this returns until they end.
    pub(crate) fn hold<T: Send + Sync + 'static>(&self, held: impl FnOnce() -> Arc<T>) {
        let list = self.list();
        if !list.is_empty() {
            let held = held();
            list.iter().for_each(|call| call.hold(held.clone()));
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<AbandonedCall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's part of a limited resource.
pub(crate) trait Share {
    /// The same permit, held for longer than the request's future lives.
    type Held: Send + Sync + 'static;

    fn hold(self) -> Self::Held;
}

/// A permit that is released when this is dropped, or when the last abandoned call ends.
#[derive(Debug)]
pub(crate) struct Shared<'a, T: Share> {
    /// Present until this is dropped.
    share: Option<T>,
    abandoned: &'a Abandoned,
}

impl<T: Share> Shared<'_, T> {
    /// The permit of a request that has been answered. Calls don't hold it.
    pub(crate) fn into_inner(mut self) -> T {
        self.take()
    }

    /// The permit of a request that has been answered. The calls hold it as well.
    pub(crate) fn hold(mut self) -> Arc<T::Held> {
        let held = Arc::new(self.take().hold());
        self.abandoned.hold(|| held.clone());
        held
    }

    fn take(&mut self) -> T {
        self.share.take().expect("taken only when it is consumed")
    }
}

impl<T: Share> Deref for Shared<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.share.as_ref().expect("taken only when it is consumed")
    }
}

impl<T: Share> Drop for Shared<'_, T> {
    fn drop(&mut self) {
        if let Some(share) = self.share.take() {
            self.abandoned.hold(|| Arc::new(share.hold()));
        }
    }
}
