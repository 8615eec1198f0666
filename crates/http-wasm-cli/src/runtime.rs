//! The runtime of commands that need one.

use std::time::Duration;

use crate::failure::{Failure, plain};

/// Runs a task to completion.
///
/// # Errors
/// The task's failure, or that the runtime can't start.
pub(crate) fn block_on(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("cannot start the runtime: {}", plain(&error))))?;
    let result = runtime.block_on(task);
    // A name lookup or a guest that is still computing must not delay the exit.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}
