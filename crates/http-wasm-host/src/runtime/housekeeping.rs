//! A thread that drives clean-ups and timers if there is no async runtime.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::Task;

/// Maximum number of tasks waiting or running. A task is usually a clean-up call of a few microseconds, and holds an
/// instance: a queue this long means that clients disconnect faster than guests can be notified.
const CAPACITY: usize = 4096;

/// The thread, started when first needed. It ends when this is dropped.
#[derive(Default)]
pub(crate) struct Housekeeping {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    started: bool,
    closed: bool,
    /// Tasks that are queued or running.
    tasks: usize,
    queued: VecDeque<Task>,
    woken: Vec<u64>,
    timers: BTreeMap<(Instant, u64), Waker>,
    next_timer: u64,
}

impl Housekeeping {
    /// Queues `task`. Returns `false` if it was dropped because too many are waiting.
    pub(crate) fn spawn(&self, task: Task) -> bool {
        let mut state = self.shared.lock();
        if state.tasks >= CAPACITY || !self.ensure_started(&mut state) {
            // Outside the lock: dropping what the task holds may call back into this.
            drop(state);
            drop(task);
            return false;
        }
        state.tasks += 1;
        state.queued.push_back(task);
        self.shared.changed.notify_one();
        true
    }

    pub(crate) fn sleep(&self, duration: Duration) -> Sleep {
        self.ensure_started(&mut self.shared.lock());
        let now = Instant::now();
        // A guest may ask for centuries, which `Instant` can't add.
        let deadline = now.checked_add(duration).unwrap_or(now + Duration::from_secs(1 << 32));
        Sleep { shared: self.shared.clone(), deadline, timer: None }
    }

    /// Wakes `waker` at `at`, unless the timer is dropped before. The waker runs on this thread.
    pub(crate) fn wake_at(&self, at: Instant, waker: Waker) -> Timer {
        self.ensure_started(&mut self.shared.lock());
        Timer::new(&self.shared, at, waker)
    }

    fn ensure_started(&self, state: &mut State) -> bool {
        if !state.started {
            let shared = self.shared.clone();
            let thread = std::thread::Builder::new().name("http-wasm-housekeeping".into());
            state.started = thread.spawn(move || shared.run()).is_ok();
        }
        state.started
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(self: Arc<Self>) {
        let mut running: HashMap<u64, Task> = HashMap::new();
        let mut next_id = 0;
        while let Some((started, woken)) = self.wait() {
            let mut due = woken;
            for task in started {
                running.insert(next_id, task);
                due.push(next_id);
                next_id += 1;
            }
            for id in due {
                let waker = Waker::from(Arc::new(TaskWake { id, shared: self.clone() }));
                let Some(task) = running.get_mut(&id) else { continue };
                // A panic in the embedder's code must not stop the thread that other tasks depend on.
                let poll = AssertUnwindSafe(|| task.as_mut().poll(&mut Context::from_waker(&waker)));
                if !matches!(catch_unwind(poll), Ok(Poll::Pending)) {
                    running.remove(&id);
                    self.lock().tasks -= 1;
                }
            }
        }
    }

    /// Waits for work: new tasks and the IDs of woken ones. `None` if there will never be any again.
    fn wait(&self) -> Option<(VecDeque<Task>, Vec<u64>)> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            while let Some(timer) = state.timers.first_entry().filter(|timer| timer.key().0 <= now) {
                let waker = timer.remove();
                // A waker may take locks that are taken here.
                drop(state);
                waker.wake();
                state = self.lock();
            }
            if !state.queued.is_empty() || !state.woken.is_empty() {
                return Some((std::mem::take(&mut state.queued), std::mem::take(&mut state.woken)));
            }
            if state.closed {
                return None;
            }
            state = match state.timers.first_key_value() {
                Some(((at, _), _)) => {
                    let timeout = at.saturating_duration_since(now);
                    self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

struct TaskWake {
    id: u64,
    shared: Arc<Shared>,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.shared.lock().woken.push(self.id);
        self.shared.changed.notify_one();
    }
}

/// A waker that waits for its time. Dropping it cancels the timer.
pub(crate) struct Timer {
    shared: Arc<Shared>,
    key: (Instant, u64),
}

impl Timer {
    fn new(shared: &Arc<Shared>, at: Instant, waker: Waker) -> Self {
        let mut state = shared.lock();
        state.next_timer += 1;
        let key = (at, state.next_timer);
        state.timers.insert(key, waker);
        shared.changed.notify_one();
        Self { shared: shared.clone(), key }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let _waker = self.shared.lock().timers.remove(&self.key);
    }
}

/// A timer of the housekeeping thread, as a future.
pub(crate) struct Sleep {
    shared: Arc<Shared>,
    deadline: Instant,
    timer: Option<Timer>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        self.timer = Some(Timer::new(&self.shared, self.deadline, cx.waker().clone()));
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_sleeping_task_is_woken_and_finished_without_an_executor() {
        let housekeeping = Arc::new(Housekeeping::default());
        let (done, finished) = mpsc::channel();
        let started = Instant::now();
        let sleep = housekeeping.sleep(Duration::from_millis(20));
        assert!(housekeeping.spawn(Box::pin(async move {
            sleep.await;
            done.send(started.elapsed()).unwrap();
        })));
        assert!(finished.recv_timeout(Duration::from_secs(10)).unwrap() >= Duration::from_millis(20));
    }

    #[test]
    fn tasks_beyond_the_queue_limit_are_dropped_and_reported() {
        let housekeeping = Housekeeping::default();
        for _ in 0..CAPACITY {
            assert!(housekeeping.spawn(Box::pin(std::future::pending())));
        }
        assert!(!housekeeping.spawn(Box::pin(std::future::pending())));
    }
}
