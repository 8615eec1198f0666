//! What the core needs from an async runtime, and what it does without one.

mod background;
mod housekeeping;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;

pub(crate) use self::background::Background;
pub(crate) use self::housekeeping::Timer;

/// A future that a [`Runtime`] runs to its end, independently of the code that started it.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the core needs from an async runtime, apart from polling its futures.
///
/// The futures themselves can be polled by any executor. By default, an engine uses [`TokioRuntime`]: tokio's tasks and
/// timers within a tokio runtime, and a thread of its own for clean-up calls and timers elsewhere. To use another
/// runtime, pass it to [`EngineBuilder::runtime`](crate::EngineBuilder::runtime).
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
    /// Runs `task` off the current request's path.
    ///
    /// # Errors
    /// Returns the task if there is no runtime to run it. The housekeeping thread then runs it.
    fn spawn(&self, task: Task) -> Result<(), Task>;

    /// Returns a future that ends after `duration`, or `None` if there is no timer. The housekeeping thread then takes
    /// its place.
    fn sleep(&self, duration: Duration) -> Option<Task>;

    /// Returns a future that ends once other tasks and the runtime's I/O have had their turn.
    fn yield_now(&self) -> Task {
        Box::pin(YieldNow { yielded: false })
    }
}

/// The default: the tasks, timers and yielding of the tokio runtime that the caller is in, or the engine's own thread
/// outside of one.
///
/// A tokio runtime that polls guests needs timers (`Builder::enable_time`); without them, tokio panics.
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
