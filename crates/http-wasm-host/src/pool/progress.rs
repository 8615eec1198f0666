//! A call of a guest that is over already, as most are, or goes on.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a call into a guest comes to: a future, whose result is often there from the start.
///
/// A guest that has nothing to wait for runs to its end within the call that returns this; `.await` then gives the result
/// without a pause, and [`done`](Self::done) without a future. What is left of any other guest's run happens in the future.
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

    /// The result, or this future again if it isn't there yet.
    ///
    /// # Errors
    /// The future, to be polled.
    #[inline]
    pub fn done(self) -> Result<T, Self> {
        match self.0 {
            State::Done(result) => Ok(result),
            other => Err(Self(other)),
        }
    }
}

/// The result lies beside the future and not in it: nothing depends on where it is.
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
            // As with any future, only a caller that errs asks again.
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
