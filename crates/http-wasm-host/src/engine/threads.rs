//! Threads on which a guest's file operations run.
//!
//! wasmtime-wasi runs file operations on the blocking threads of the current tokio runtime. In the embedding program,
//! these threads also resolve names and read configurations, so a disk that hangs would affect more than its guest.
//! Each guest therefore has its own bounded number of threads, which a reloaded guest with the same name shares.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The number of threads per guest. Disks have their own queues, so more threads would only wait there.
const THREADS: usize = 16;

/// The number of started operations per thread, including cancelled ones that hang. Other operations wait outside the
/// threads' queue, since they couldn't be removed from it.
const STARTED_PER_THREAD: usize = 4;

/// Time after which an idle thread ends.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The threads of all guests, by guest name.
#[derive(Default)]
pub(crate) struct FileThreadsByGuest(Mutex<HashMap<Arc<str>, Weak<FileThreads>>>);

impl FileThreadsByGuest {
    /// The threads of the guest with this name.
    pub(crate) fn of(&self, guest: &Arc<str>) -> Result<Arc<FileThreads>, String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, threads| threads.strong_count() > 0);
        if let Some(threads) = all.get(guest).and_then(Weak::upgrade) {
            return Ok(threads);
        }
        let threads = FileThreads::new(THREADS)
            .map_err(|error| format!("cannot start threads for its file operations: {error}"))?;
        let threads = Arc::new(threads);
        all.insert(guest.clone(), Arc::downgrade(&threads));
        Ok(threads)
    }
}

/// The threads of one guest.
pub(crate) struct FileThreads {
    /// A runtime whose blocking threads run the operations. It runs nothing else, so it isn't driven. `None` to use the
    /// caller's threads.
    runtime: Option<Runtime>,
    started: Arc<Semaphore>,
}

impl FileThreads {
    fn new(threads: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(threads)
            .thread_keep_alive(KEEP_ALIVE)
            .thread_name("http-wasm-files")
            .build()?;
        Ok(Self { runtime: Some(runtime), started: Arc::new(Semaphore::new(STARTED_PER_THREAD * threads)) })
    }

    /// No threads: operations run on those of the caller.
    pub(crate) fn none() -> Self {
        Self { runtime: None, started: Arc::new(Semaphore::new(1)) }
    }

    /// Runs an operation of wasmtime-wasi, whose blocking parts run on these threads.
    pub(crate) async fn run<F: Future>(&self, operation: F) -> F::Output {
        let mut operation = pin!(operation);
        let mut started = Started { threads: self, permit: self.started.clone().acquire_owned().await.ok() };
        let output = poll_fn(|cx| {
            let _entered = self.runtime.as_ref().map(Runtime::enter);
            operation.as_mut().poll(cx)
        })
        .await;
        // The operation has ended, and no part of it is left on a thread.
        drop(started.permit.take());
        output
    }

    /// Runs `operation` on one of the threads.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        operation: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        // Called in the future's first poll, so that it runs on these threads.
        self.run(async { wasmtime_wasi::runtime::spawn_blocking(operation).await }).await
    }
}

impl Drop for FileThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Doesn't wait for operations that hang.
            runtime.shutdown_background();
        }
    }
}

/// An operation that has started.
struct Started<'a> {
    threads: &'a FileThreads,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Started<'_> {
    /// If the operation is cancelled, its part on a thread may continue. The threads then return the permit, which they
    /// can only do if not all of them hang.
    fn drop(&mut self) {
        if let (Some(permit), Some(runtime)) = (self.permit.take(), &self.threads.runtime) {
            runtime.spawn_blocking(move || drop(permit));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_executor::block_on;
    use futures_util::FutureExt as _;

    use super::*;

    /// Blocks a thread of `threads` until the sender is dropped. The operation's future is dropped.
    fn hang(threads: &FileThreads) -> mpsc::Sender<()> {
        let (sender, receiver) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let mut operation = Box::pin(threads.run_blocking(move || {
            begun.send(()).unwrap();
            let _gone = receiver.recv();
        }));
        assert!(operation.as_mut().now_or_never().is_none());
        // An operation that is cancelled before a thread has taken it never starts.
        has_begun.recv_timeout(Duration::from_secs(30)).unwrap();
        sender
    }

    #[test]
    fn guests_do_not_share_threads_and_a_reloaded_guest_keeps_its_own() {
        let all = FileThreadsByGuest::default();
        let [a, same, b] = ["a", "a", "b"].map(|name| all.of(&name.into()).unwrap());
        assert!(Arc::ptr_eq(&a, &same) && !Arc::ptr_eq(&a, &b));
        drop((a, same));
        let _new = all.of(&"c".into()).unwrap();
        assert_eq!(all.0.lock().unwrap().len(), 2);
    }

    #[test]
    fn hung_operations_block_only_their_own_guest_and_only_without_a_free_thread() {
        let (one, other) = (FileThreads::new(2).unwrap(), FileThreads::new(2).unwrap());
        let first = hang(&one);
        assert_eq!(block_on(one.run_blocking(|| 1)), 1);
        let _second = hang(&one);
        assert!(one.run_blocking(|| ()).now_or_never().is_none());
        assert_eq!(block_on(other.run_blocking(|| 1)), 1);
        drop(first);
        assert_eq!(block_on(one.run_blocking(|| 1)), 1);
    }

    #[test]
    fn the_queue_behind_hung_operations_is_bounded_however_many_are_cancelled() {
        let threads = FileThreads::new(1).unwrap();
        let hanging = hang(&threads);
        let (begun, all_begun) = mpsc::channel();
        for _ in 0..1000 {
            let begun = begun.clone();
            assert!(threads.run_blocking(move || begun.send(()).unwrap()).now_or_never().is_none());
        }
        assert_eq!(threads.started.available_permits(), 0);
        drop((hanging, begun));
        assert_eq!(block_on(threads.run_blocking(|| 1)), 1);
        // Operations in the queue were cancelled before a thread was free for them, and the others never entered the
        // queue.
        assert_eq!(all_begun.iter().count(), 0);
    }
}
