//! The result of a call into a guest, which is often available at once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::abandoned::{AbandonedCall, Running, RunningCall};
use crate::run::call::CallStatus;
use crate::run::shared::Shared;

/// A call into a guest: a future whose result is often available at once.
///
/// A guest that has nothing to wait for runs to completion within the call that returns this. Then `.await` returns the
/// result without suspending, and [`done`](Self::done) returns it without polling a future. For any other guest, the
/// rest of the call runs in the future. Dropping it has the effect of [`abandon`](Self::abandon).
///
/// ```
/// use http_wasm_host::{BoxError, Engine, Guest, InMemoryHost, Outcome};
///
/// let guest = Guest::<InMemoryHost>::load(&Engine::new()?, br#"(module
///   (memory (export "memory") 1)
///   (func (export "handle_request") (result i64) i64.const 0)
///   (func (export "handle_response") (param i32 i32)))"#)?;
///
/// # futures_executor::block_on(async {
/// let progress = guest.handle_request(InMemoryHost::new("GET", "/"));
/// let outcome = match progress.done() {
///     // The usual case. No future is involved, which a server on its own event loop can take advantage of.
///     Ok(result) => result?,
///     // The guest waits for a body, or computes for a long time.
///     Err(progress) => progress.await?,
/// };
/// assert!(matches!(outcome, Outcome::Respond(_)));
/// # Ok::<(), BoxError>(())
/// # })?;
/// # Ok::<(), BoxError>(())
/// ```
#[must_use = "a guest that waits only continues when it is polled"]
pub struct Progress<T>(State<T>);

enum State<T> {
    Done(T),
    Waiting(Waiting<T>),
    Taken,
}

/// A call that waits or computes. Dropping this abandons the call.
struct Waiting<T>(Option<Pin<Box<dyn RunningCall<T>>>>);

impl<T> Waiting<T> {
    fn abandon(&mut self, waits_no_more: bool) -> Option<AbandonedCall> {
        self.0.take()?.abandon(waits_no_more)
    }
}

impl<T> Drop for Waiting<T> {
    #[inline]
    fn drop(&mut self) {
        self.abandon(false);
    }
}

impl<T> Progress<T> {
    pub(crate) fn of(result: T) -> Self {
        Self(State::Done(result))
    }

    /// A call whose rest runs in `future`.
    pub(crate) fn waiting<F>(future: F, call: CallStatus, shared: Arc<Shared>) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        Self(State::Waiting(Waiting(Some(Box::pin(Running::new(future, call, shared))))))
    }

    /// Abandons the call, whose result is no longer wanted.
    ///
    /// If the guest computes, its call continues as a task of the engine's [`Runtime`](crate::Runtime) until it ends,
    /// and its instance is kept; the returned value represents that call. Otherwise, the call ends here and its
    /// instance is lost. This applies to a guest that waits for a body, and to one that computes if the runtime doesn't
    /// accept the task, or if 128 calls of the guest have already been abandoned.
    pub fn abandon(&mut self) -> Option<AbandonedCall> {
        match &mut self.0 {
            State::Waiting(waiting) => waiting.abandon(false),
            State::Done(_) | State::Taken => None,
        }
    }

    /// The same for a call whose guest has nothing to wait for any more, even if it waits now.
    pub(super) fn abandon_stream(&mut self) -> Option<AbandonedCall> {
        match &mut self.0 {
            State::Waiting(waiting) => waiting.abandon(true),
            State::Done(_) | State::Taken => None,
        }
    }

    /// Returns the result if it is available.
    ///
    /// # Errors
    /// Returns the future itself, to be polled, if there is no result yet.
    #[inline]
    pub fn done(self) -> Result<T, Self> {
        match self.0 {
            State::Done(result) => Ok(result),
            other => Err(Self(other)),
        }
    }
}

/// The result is stored next to the future, not in it, so nothing depends on its address.
impl<T> Unpin for Progress<T> {}

impl<T> Future for Progress<T> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            State::Waiting(Waiting(call)) => {
                let running = call.as_mut().expect("polled after it was done or abandoned");
                let polled = running.as_mut().poll(cx);
                if polled.is_ready() {
                    *call = None;
                }
                polled
            }
            State::Done(_) => match std::mem::replace(&mut self.0, State::Taken) {
                State::Done(result) => Poll::Ready(result),
                State::Waiting(_) | State::Taken => Poll::Pending,
            },
            // As with any future, only incorrect callers poll again.
            State::Taken => panic!("polled after it was done"),
        }
    }
}

impl<T> fmt::Debug for Progress<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Done(_) => "Progress::Done",
            State::Waiting(_) => "Progress::Waiting",
            State::Taken => "Progress::Taken",
        })
    }
}
