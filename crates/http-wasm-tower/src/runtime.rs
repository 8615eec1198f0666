//! What the core needs of an executor, from tokio.

use std::time::Duration;

use http_wasm_host::{Runtime, Task};
use tokio::runtime::Handle;

/// Tokio's tasks, timers and yielding, of whichever tokio runtime the caller is in. One whose timer is not enabled
/// panics, as tokio's own timers do there.
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
        // Unlike waking the task, this lets tokio look at its I/O before the task's next turn.
        Box::pin(tokio::task::yield_now())
    }
}
