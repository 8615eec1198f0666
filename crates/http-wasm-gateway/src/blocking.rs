//! Runs blocking work, such as reading files, so that a slow disk doesn't delay requests.

use crate::error::StartError;

/// Runs this on a thread for blocking work. If the future is dropped, the work still completes.
///
/// # Errors
/// If the work panics.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StartError::System(format!("a background task failed: {error}")))
}
