//! What the core needs of an executor, and what it does without one.

mod background;
mod housekeeping;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) use self::background::Background;
pub(crate) use self::housekeeping::Timer;

/// A task for an executor.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The services of an executor that go beyond polling a future.
///
/// The core itself can be polled from anywhere. An engine without a runtime of its own runs clean-up calls on
/// its housekeeping thread and lets a long-computing guest yield by waking its own task.
pub trait Runtime: Send + Sync + 'static {
    /// Runs `task` off the current request's path. Gives it back when no executor is at hand.
    ///
    /// # Errors
    /// The task itself, untouched, for the housekeeping thread to run.
    fn spawn(&self, task: Task) -> Result<(), Task>;

    /// Ends after `duration`. `None` when no timer is at hand; the housekeeping thread then keeps the time.
    fn sleep(&self, duration: Duration) -> Option<Task>;

    /// Ends once other tasks, and the executor's I/O, have had their turn.
    fn yield_now(&self) -> Task {
        Box::pin(YieldNow { yielded: false })
    }
}

/// No executor: all is left to the housekeeping thread.
#[derive(Debug)]
pub(crate) struct NoRuntime;

impl Runtime for NoRuntime {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        Err(task)
    }

    fn sleep(&self, _: Duration) -> Option<Task> {
        None
    }
}

struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
