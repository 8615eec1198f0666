//! The result of a call into a guest, which is often available at once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A call into a guest: a future whose result is often available at once.
///
/// A guest that has nothing to wait for runs to completion within the call that returns this. Then `.await` returns the
/// result without suspending, and [`done`](Self::done) returns it without polling a future. For any other guest, the
/// rest of the call runs in the future. Dropping it while the guest runs drops the guest's instance.
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
///     // The guest waits for a body, or computes for long.
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
    Waiting(Pin<Box<dyn Future<Output = T> + Send>>),
    Taken,
}

impl<T> Progress<T> {
    pub(crate) fn of(result: T) -> Self {
        Self(State::Done(result))
    }

    pub(crate) fn waiting(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(State::Waiting(Box::pin(future)))
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

/// The result is stored next to the future and not in it, so nothing depends on its address.
impl<T> Unpin for Progress<T> {}

impl<T> Future for Progress<T> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            State::Waiting(future) => future.as_mut().poll(cx),
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
