//! Driving a future from a thread that may block.

use std::future::Future;
use std::thread;

/// Runs `future` to its end while this thread sleeps.
///
/// On a thread of its own: an executor that this one may belong to would be asked for a turn, or for the time, and could
/// give neither while its thread waits here.
pub(crate) fn block_on<F: Future<Output: Send> + Send>(future: F) -> F::Output {
    thread::scope(|scope| match scope.spawn(|| futures_executor::block_on(future)).join() {
        Ok(output) => output,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
