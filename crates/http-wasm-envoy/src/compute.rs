//! Threads for guests that compute for longer than a worker can wait.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http_wasm_host::{Runtime, Task};

/// The most calls that these threads take at once. Each call holds an instance, whose memory has its own budget.
const CAPACITY: usize = 4096;

thread_local! {
    /// Whether the guest that this thread polled last has used up its time slice.
    static OVERRUN: Cell<bool> = const { Cell::new(false) };
}

/// Starts a new time slice on this thread.
pub(crate) fn begin_slice() {
    OVERRUN.set(false);
}

/// Whether a guest has used up its time slice since [`begin_slice`], and only waits to be polled again. Resets the
/// flag.
pub(crate) fn has_overrun() -> bool {
    OVERRUN.take()
}

/// Runs a guest on a thread for long computations, one time slice after the other. Returns `None` once it waits: what
/// it has written is sent only when it waits on the worker's thread.
pub(crate) async fn until_it_waits<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    poll_fn(|cx| {
        begin_slice();
        match poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if has_overrun() => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        }
    })
    .await
}

/// Ends the time slice of the guest that waits for this.
fn yield_now() -> Task {
    OVERRUN.set(true);
    let mut yielded = false;
    Box::pin(poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }))
}

/// A pool of threads, which runs the engine's background tasks too. They are never stopped: Envoy keeps the module
/// loaded.
#[derive(Clone)]
pub(crate) struct Threads(Arc<Queue>);

impl Runtime for Threads {
    fn spawn(&self, task: Task) -> Result<(), Task> {
        self.enqueue(task).map(drop)
    }

    fn sleep(&self, _: Duration) -> Option<Task> {
        None
    }

    fn yield_now(&self) -> Task {
        yield_now()
    }
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Arc<Job>>,
    jobs: usize,
}

/// A call that runs on the threads.
struct Job {
    queue: Arc<Queue>,
    /// `None` once the call is over.
    future: Mutex<Option<Task>>,
    wake: Mutex<JobState>,
    /// Whether the [`CallHandle`] was dropped.
    is_abandoned: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum JobState {
    Waiting,
    Queued,
    Running,
    /// Woken while it is polled.
    Woken,
}

impl Threads {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system can't start a thread.
    pub(crate) fn start(count: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        for at in 0..count {
            let queue = queue.clone();
            std::thread::Builder::new().name(format!("http-wasm-{at}")).spawn(move || queue.run())?;
        }
        Ok(Self(queue))
    }

    /// The number of calls on these threads.
    pub(crate) fn calls(&self) -> usize {
        self.0.lock().jobs
    }

    /// Starts `task`, or returns it if the threads already have too many.
    fn enqueue(&self, task: Task) -> Result<Arc<Job>, Task> {
        let mut state = self.0.lock();
        if state.jobs >= CAPACITY {
            drop(state);
            return Err(task);
        }
        let job = Arc::new(Job {
            queue: self.0.clone(),
            future: Mutex::new(Some(task)),
            wake: Mutex::new(JobState::Queued),
            is_abandoned: AtomicBool::new(false),
        });
        state.jobs += 1;
        state.ready.push_back(job.clone());
        drop(state);
        self.0.changed.notify_one();
        Ok(job)
    }

    /// Runs `call` to completion on these threads. Returns `None` if they have too many calls already.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Option<CallHandle<T>> {
        let slot = Arc::new(Mutex::new(Slot { result: None, is_over: false, waiter: None }));
        let finish = Completion(slot.clone());
        let task = Box::pin(async move {
            let result = call.await;
            finish.0.lock().unwrap_or_else(PoisonError::into_inner).result = Some(result);
            drop(finish);
        });
        let job = self.enqueue(task).ok()?;
        Some(CallHandle { slot, job })
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let mut state = self.lock();
            let job = loop {
                match state.ready.pop_front() {
                    Some(job) => break job,
                    None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(state);
            job.run();
        }
    }
}

impl Job {
    fn job_state(&self) -> MutexGuard<'_, JobState> {
        self.wake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(self: Arc<Self>) {
        *self.job_state() = JobState::Running;
        let waker = Waker::from(self.clone());
        let mut future = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = future.as_mut() else { return };
        // A panic ends this call only, not the thread.
        let poll = AssertUnwindSafe(|| running.as_mut().poll(&mut Context::from_waker(&waker)));
        let is_over = !matches!(catch_unwind(poll), Ok(Poll::Pending));
        drop(future);
        if is_over {
            return self.end();
        }
        let mut job_state = self.job_state();
        match *job_state {
            JobState::Woken => {
                *job_state = JobState::Queued;
                drop(job_state);
                self.enqueue();
            }
            // What the call waits for may never happen.
            _ if self.is_abandoned.load(Ordering::Acquire) => {
                drop(job_state);
                self.end();
            }
            _ => *job_state = JobState::Waiting,
        }
    }

    fn end(&self) {
        let over = self.future.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _dropped = catch_unwind(AssertUnwindSafe(|| drop(over)));
        self.queue.lock().jobs -= 1;
    }

    fn enqueue(self: &Arc<Self>) {
        self.queue.lock().ready.push_back(self.clone());
        self.queue.changed.notify_one();
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut job_state = self.job_state();
        match *job_state {
            JobState::Waiting => {
                *job_state = JobState::Queued;
                drop(job_state);
                self.enqueue();
            }
            JobState::Running => *job_state = JobState::Woken,
            JobState::Queued | JobState::Woken => {}
        }
    }
}

/// The result of a call on another thread. After this is dropped, the call runs only until it waits for something.
pub(crate) struct CallHandle<T> {
    slot: Arc<Mutex<Slot<T>>>,
    job: Arc<Job>,
}

impl<T> Drop for CallHandle<T> {
    fn drop(&mut self) {
        self.job.is_abandoned.store(true, Ordering::Release);
        self.job.wake_by_ref();
    }
}

struct Slot<T> {
    result: Option<T>,
    is_over: bool,
    waiter: Option<Waker>,
}

/// Wakes the waiter when the call is over, however it ended.
struct Completion<T>(Arc<Mutex<Slot<T>>>);

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.is_over = true;
        let waiter = slot.waiter.take();
        drop(slot);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl<T> Future for CallHandle<T> {
    /// `None` if the call panicked.
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_over {
            return Poll::Ready(slot.result.take());
        }
        slot.waiter = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Blocks this thread until the future completes.
    fn wait<T>(future: impl Future<Output = T>) -> T {
        struct Unpark(std::thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut future = std::pin::pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(value) => return value,
                Poll::Pending => std::thread::park(),
            }
        }
    }

    #[test]
    fn a_call_that_yields_forever_does_not_starve_others_on_its_thread() {
        let threads = Threads::start(1).unwrap();
        let (stop, stopped) = mpsc::channel::<()>();
        let _looping = threads.run(async move {
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                yield_now().await;
            }
        });
        assert_eq!(wait(threads.run(async { 7 }).unwrap()), Some(7));
        drop(stop);
    }

    #[test]
    fn an_abandoned_call_finishes_computing_but_is_dropped_when_it_waits() {
        let threads = Threads::start(1).unwrap();
        let (over, is_over) = mpsc::channel();
        let waits = over.clone();
        drop(threads.run(async move {
            for _ in 0..3 {
                yield_now().await;
            }
            over.send("computed").unwrap();
        }));
        assert_eq!(is_over.recv(), Ok("computed"));
        // The call is dropped while it waits, or before it starts.
        let handle = threads.run(async move {
            let _sent_when_dropped = SendOnDrop(waits);
            std::future::pending::<()>().await;
        });
        assert_eq!(wait(threads.run(async { 7 }).unwrap()), Some(7));
        drop(handle);
        assert_eq!(is_over.recv(), Ok("dropped"));
        while threads.calls() > 0 {
            std::thread::yield_now();
        }
    }

    struct SendOnDrop(mpsc::Sender<&'static str>);

    impl Drop for SendOnDrop {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
        }
    }

    #[test]
    fn a_panic_ends_only_its_own_call() {
        let threads = Threads::start(1).unwrap();
        let panics = threads.run(async { std::panic::resume_unwind(Box::new("a call")) });
        assert_eq!(wait(panics.unwrap()), None::<()>);
        assert_eq!(wait(threads.run(async { 7 }).unwrap()), Some(7));
    }

    #[test]
    fn an_overrun_is_reported_once_when_a_guest_yields() {
        begin_slice();
        assert!(!has_overrun());
        let _yield = yield_now();
        assert!(has_overrun());
        assert!(!has_overrun(), "it is reported once");
    }
}
