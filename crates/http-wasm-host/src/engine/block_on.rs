//! Runs a future to completion on a thread that may block.

use std::future::Future;
use std::thread;

/// Runs `future` to completion while this thread sleeps.
///
/// It uses a separate thread: the future may ask the executor that this thread belongs to for timers or to yield, and
/// that executor can provide neither while its thread is blocked here.
pub(crate) fn block_on<F: Future<Output: Send> + Send>(future: F) -> F::Output {
    thread::scope(|scope| match scope.spawn(|| futures_executor::block_on(future)).join() {
        Ok(output) => output,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
