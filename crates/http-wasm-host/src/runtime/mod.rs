//! What the core needs of an executor, and what it does without one.

mod background;
mod housekeeping;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;

pub(crate) use self::background::Background;
pub(crate) use self::housekeeping::Timer;

/// A task for an executor.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The services of an executor that go beyond polling a future.
///
/// The core itself can be polled from anywhere. By default an engine uses [`TokioRuntime`]: tokio where it is entered,
/// and elsewhere a thread of the engine's own for clean-up calls and timers. Another executor is given to
/// [`EngineBuilder::runtime`](crate::EngineBuilder::runtime).
///
/// ```
/// use std::time::Duration;
///
/// use http_wasm_host::{Engine, Runtime, Task};
///
/// /// Runs tasks on a thread each, and leaves timers to the engine.
/// struct Threads;
///
/// impl Runtime for Threads {
///     fn spawn(&self, task: Task) -> Result<(), Task> {
///         std::thread::spawn(|| futures_executor::block_on(task));
///         Ok(())
///     }
///
///     fn sleep(&self, _: Duration) -> Option<Task> {
///         None
///     }
/// }
///
/// let engine = Engine::builder().runtime(Threads).build()?;
/// # Ok::<(), http_wasm_host::LoadError>(())
/// ```
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

/// Tokio's tasks, timers and yielding, of whichever tokio runtime the caller is in; outside of any, the housekeeping
/// thread. The default of an engine.
///
/// A tokio runtime that polls guests needs its timer, as by `Builder::enable_time`: without it, tokio's timers panic.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TokioRuntime;

impl Runtime for TokioRuntime {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(task);
                Ok(())
            }
            Err(_) => Err(task),
        }
    }

    fn sleep(&self, duration: Duration) -> Option<Task> {
        Handle::try_current().ok()?;
        Some(Box::pin(tokio::time::sleep(duration)))
    }

    fn yield_now(&self) -> Task {
        match Handle::try_current() {
            // Unlike waking the task, this lets tokio look at its I/O before the task's next turn.
            Ok(_) => Box::pin(tokio::task::yield_now()),
            Err(_) => Box::pin(YieldNow { yielded: false }),
        }
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
