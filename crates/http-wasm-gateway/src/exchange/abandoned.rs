//! The permits that a request keeps when its client has disconnected and a guest still computes for it.
//!
//! A guest that computes isn't stopped when its client disconnects. If the client's permits were released at once, it
//! could start call after call by resetting each, so the call holds them until it ends.

use std::ops::Deref;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http_wasm_tower::AbandonedCall;

/// The guest's call that continues after its request was dropped, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Abandoned {
    call: OnceLock<AbandonedCall>,
    /// More of them, if several guests were writing the request.
    others: Mutex<Vec<AbandonedCall>>,
    /// A guest continues to run while its response is sent.
    streams: OnceLock<()>,
}

impl Abandoned {
    /// Called when the request is dropped and `call` continues.
    pub(crate) fn set(&self, call: AbandonedCall) {
        if let Err(other) = self.call.set(call) {
            self.others.lock().unwrap_or_else(PoisonError::into_inner).push(other);
        }
    }

    /// A guest has started to write a response, and continues to run while that is sent.
    pub(crate) fn streams(&self) {
        let _ = self.streams.set(());
    }

    /// Whether one does.
    pub(crate) fn is_streaming(&self) -> bool {
        self.streams.get().is_some()
    }

    /// A permit that such a call holds until it ends.
    pub(crate) fn share<T: Share>(&self, share: T) -> Shared<'_, T> {
        Shared { share: Some(share), abandoned: self }
    }
}

/// A request's part of a limited resource.
pub(crate) trait Share {
    /// The same permit, held by a call.
    type Held: Send + Sync + 'static;

    fn hold(self) -> Self::Held;
}

/// A permit that is released when this is dropped, or when the abandoned call ends.
#[derive(Debug)]
pub(crate) struct Shared<'a, T: Share> {
    /// Present until this is dropped.
    share: Option<T>,
    abandoned: &'a Abandoned,
}

impl<T: Share> Shared<'_, T> {
    /// The permit of a request that wasn't dropped.
    pub(crate) fn into_inner(mut self) -> T {
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
        if let (Some(call), Some(share)) = (self.abandoned.call.get(), self.share.take()) {
            let held = Arc::new(share.hold());
            let others = self.abandoned.others.lock().unwrap_or_else(PoisonError::into_inner);
            others.iter().for_each(|other| other.hold(held.clone()));
            call.hold(held);
        }
    }
}
