//! A future that is polled together with one that wakes its task far more often.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Polls a future only if that future was woken, and not whenever another one in its task was.
///
/// A connection's task runs several times per request, and every timer and notification that it polled would take a
/// lock or more to register the same waker again.
#[derive(Debug)]
pub(super) struct Seldom<F> {
    future: F,
    woken: Arc<Woken>,
    /// Wakes through `woken`.
    waker: Waker,
    /// The waker of the task that `woken` has.
    task: Option<Waker>,
}

#[derive(Debug)]
struct Woken {
    is_woken: AtomicBool,
    /// It stays here when the task is woken: a wake-up may still be on its way when the task has already been polled,
    /// and must not take the waker that the next one needs.
    task: Mutex<Option<Waker>>,
}

impl Woken {
    fn wake_task(&self) {
        if let Some(task) = &*self.task() {
            task.wake_by_ref();
        }
    }

    fn task(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.wake_task();
    }
}

impl<F> Seldom<F> {
    pub(super) fn new(future: F) -> Self {
        let woken = Arc::new(Woken { is_woken: AtomicBool::new(true), task: Mutex::new(None) });
        Self { future, waker: woken.clone().into(), woken, task: None }
    }
}

impl<F: Future + Unpin> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, woken, waker, task } = &mut *self;
        let is_registered = task.as_ref().is_some_and(|task| task.will_wake(cx.waker()));
        if is_registered && !woken.is_woken.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        if !is_registered {
            *woken.task() = Some(cx.waker().clone());
            *task = Some(cx.waker().clone());
        }
        if !woken.is_woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        Pin::new(future).poll(&mut Context::from_waker(waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::sync::atomic::Ordering;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::Seldom;
    use crate::testing::task;

    #[tokio::test(start_paused = true)]
    async fn the_future_is_polled_only_when_it_was_woken_and_by_any_task() {
        let mut polls = 0;
        let mut inner = Box::pin(async {
            sleep(Duration::from_millis(20)).await;
            sleep(Duration::from_millis(20)).await;
            7
        });
        let mut seldom = Box::pin(Seldom::new(poll_fn(move |cx| {
            polls += 1;
            inner.as_mut().poll(cx).map(|value| (value, polls))
        })));
        let mut busy = pin!(async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        });
        poll_fn(|cx| {
            assert!(seldom.as_mut().poll(cx).is_pending());
            busy.as_mut().poll(cx)
        })
        .await;
        // It is woken in another task than the first one.
        let result = timeout(Duration::from_secs(10), tokio::spawn(seldom)).await;
        assert_eq!(result.expect("it completes").unwrap(), (7, 3));
    }

    #[test]
    fn a_wake_up_that_arrives_late_does_not_use_up_the_next_one() {
        let (task, woken_count) = task();
        let mut seldom = Seldom::new(std::future::pending::<()>());
        let poll = |seldom: &mut Seldom<_>| {
            assert!(Pin::new(seldom).poll(&mut Context::from_waker(&task)).is_pending());
        };
        poll(&mut seldom);
        let woken = seldom.woken.clone();
        // The first half of a wake-up, a poll, and the second half.
        woken.is_woken.store(true, Ordering::Release);
        poll(&mut seldom);
        woken.wake_task();
        poll(&mut seldom);
        let before = woken_count();
        seldom.waker.wake_by_ref();
        assert_eq!(woken_count(), before + 1);
    }

    #[tokio::test]
    async fn a_future_that_is_ready_at_once_completes_at_once() {
        let mut seldom = pin!(Seldom::new(std::future::ready(1)));
        assert_eq!(poll_fn(|cx| Poll::Ready(seldom.as_mut().poll(cx))).await, Poll::Ready(1));
    }
}
