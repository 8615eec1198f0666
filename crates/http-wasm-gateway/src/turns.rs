//! Takes turns between tasks that have a lot to do.
//!
//! tokio runs tasks in the order in which they became ready, and checks for ready sockets in between. A few clients
//! with hundreds of uploads keep hundreds of tasks ready, and all other requests would have to wait for them. On each
//! thread, such tasks therefore run for [`SLICE`] at a time. The remaining ones wait in a queue, from which some are
//! woken whenever everything else that was ready has run.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;

/// How long others wait. This is long enough that waking tasks costs almost nothing.
const SLICE: Duration = Duration::from_millis(1);

/// How many tasks per thread are woken at a time.
const WOKEN_PER_THREAD: usize = 8;

thread_local! {
    static CURRENT: Cell<Slice> = const { Cell::new(Slice { number: 0, used: Duration::ZERO }) };
}

/// A slice of a thread's time.
#[derive(Debug, Clone, Copy)]
struct Slice {
    number: u64,
    used: Duration,
}

/// The queue in which tasks of one gateway wait for their turn.
#[derive(Debug)]
pub(crate) struct TurnQueue {
    /// One permit for each task that is woken.
    permits: Arc<Semaphore>,
    /// Tasks that are waiting, or have been woken and haven't run yet.
    waiting: AtomicUsize,
    /// Tasks that have been woken.
    woken: AtomicUsize,
    /// The number of the current slice.
    slice: AtomicU64,
    /// Whether a task is currently waking them.
    is_served: AtomicBool,
    /// How many tasks are woken at a time.
    batch: usize,
}

impl TurnQueue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(0)),
            waiting: AtomicUsize::new(0),
            woken: AtomicUsize::new(0),
            slice: AtomicU64::new(0),
            is_served: AtomicBool::new(false),
            // This reads files, so it is called only once.
            batch: WOKEN_PER_THREAD * available_parallelism().map_or(1, usize::from),
        })
    }

    /// The current slice of this thread.
    fn slice(&self) -> Slice {
        let (slice, number) = (CURRENT.get(), self.slice.load(SeqCst));
        if slice.number == number { slice } else { Slice { number, used: Duration::ZERO } }
    }

    /// Waits at the end of the queue. `None` outside of a runtime.
    fn join(self: &Arc<Self>) -> Option<QueuedTurn> {
        let runtime = Handle::try_current().ok()?;
        self.waiting.fetch_add(1, SeqCst);
        if !self.is_served.swap(true, SeqCst) {
            runtime.spawn(self.clone().serve());
        }
        Some(QueuedTurn { acquire: Box::pin(self.permits.clone().acquire_owned()), queue: self.clone() })
    }

    /// Wakes tasks for as long as there are any.
    async fn serve(self: Arc<Self>) {
        loop {
            // tokio continues here once it has run what was ready and checked for ready sockets.
            yield_now().await;
            self.slice.fetch_add(1, SeqCst);
            let waiting = self.waiting.load(SeqCst);
            if waiting == 0 {
                self.is_served.store(false, SeqCst);
                // One may have arrived in the meantime.
                if self.waiting.load(SeqCst) == 0 || self.is_served.swap(true, SeqCst) {
                    return;
                }
                continue;
            }
            let more = waiting.min(self.batch).saturating_sub(self.woken.load(SeqCst));
            self.woken.fetch_add(more, SeqCst);
            self.permits.add_permits(more);
        }
    }
}

/// A task that is waiting in the queue.
struct QueuedTurn {
    acquire: Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>,
    queue: Arc<TurnQueue>,
}

impl QueuedTurn {
    /// Ready when the task is woken.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.acquire.as_mut().poll(cx).map(|permit| {
            // It is valid for one turn. The semaphore is never closed.
            if let Ok(permit) = permit {
                permit.forget();
                self.queue.woken.fetch_sub(1, SeqCst);
            }
        })
    }
}

/// A wake-up that the task didn't use goes to the next one, which the semaphore ensures.
impl Drop for QueuedTurn {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, SeqCst);
    }
}

/// A task's turn.
#[derive(Default)]
pub(crate) struct Turn(Option<QueuedTurn>);

impl Turn {
    /// Polls the task, or makes it wait in the queue if the slice is over.
    pub(crate) fn poll<T>(
        &mut self,
        queue: &Arc<TurnQueue>,
        cx: &mut Context<'_>,
        task: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.0.is_none() && queue.slice().used >= SLICE {
            self.0 = queue.join();
        }
        if let Some(queued) = &mut self.0 {
            if queued.poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.0 = None;
        }
        let began = Instant::now();
        let polled = task(cx);
        let slice = queue.slice();
        CURRENT.set(Slice { used: slice.used + began.elapsed(), ..slice });
        polled
    }

    /// Leaves the queue, if it is in it.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Waker};

    use super::{CURRENT, SLICE, Slice, Turn, TurnQueue};

    /// Uses up the current slice.
    fn use_up(queue: &TurnQueue) {
        CURRENT.set(Slice { used: SLICE, ..queue.slice() });
    }

    #[tokio::test(flavor = "current_thread")]
    async fn tasks_that_arrive_after_the_slice_run_last_in_order_of_arrival() {
        let (queue, order) = (TurnQueue::new(), Arc::new(Mutex::new(Vec::new())));
        use_up(&queue);
        let busy: Vec<_> = (0..100)
            .map(|number| {
                let (queue, order, mut turn) = (queue.clone(), order.clone(), Turn::default());
                tokio::spawn(poll_fn(move |cx| {
                    turn.poll(&queue, cx, |_| {
                        order.lock().unwrap().push(number);
                        // However long the test takes.
                        use_up(&queue);
                        Poll::Ready(())
                    })
                }))
            })
            .collect();
        let other = order.clone();
        tokio::spawn(async move { other.lock().unwrap().push(1_000) }).await.unwrap();
        for task in busy {
            task.await.unwrap();
        }
        let expected: Vec<_> = [1_000].into_iter().chain(0..100).collect();
        assert_eq!(*order.lock().unwrap(), expected);
        assert_eq!((queue.waiting.load(SeqCst), queue.woken.load(SeqCst)), (0, 0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_task_that_leaves_the_queue_does_not_block_others() {
        let queue = TurnQueue::new();
        use_up(&queue);
        let cx = &mut Context::from_waker(Waker::noop());
        let mut leaves = Turn::default();
        assert_eq!(leaves.poll(&queue, cx, |_| Poll::Ready(())), Poll::Pending);
        for leaves in [Some(leaves), None] {
            let (mut turn, queue) = (Turn::default(), queue.clone());
            use_up(&queue);
            let stays = tokio::spawn(poll_fn(move |cx| turn.poll(&queue, cx, |_| Poll::Ready(()))));
            tokio::task::yield_now().await;
            drop(leaves);
            stays.await.unwrap();
        }
        assert_eq!(queue.waiting.load(SeqCst), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_task_runs_at_once_until_the_slice_is_used_up() {
        let (queue, cx) = (TurnQueue::new(), &mut Context::from_waker(Waker::noop()));
        CURRENT.set(Slice { used: SLICE / 2, ..queue.slice() });
        let long = |_: &mut Context<'_>| {
            std::thread::sleep(SLICE / 2);
            Poll::Ready(())
        };
        assert_eq!(Turn::default().poll(&queue, cx, long), Poll::Ready(()));
        assert_eq!(Turn::default().poll(&queue, cx, long), Poll::Pending);
    }
}
