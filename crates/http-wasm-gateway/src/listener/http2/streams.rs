//! The streams of one connection, and when their tasks run.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::Notify;

use crate::exchange::FEW_REQUESTS;
use crate::turns::{Turn, TurnQueue};

/// Counts the streams of a connection that have tasks.
#[derive(Debug)]
pub(super) struct Streams {
    open: AtomicUsize,
    aborted: AtomicBool,
    abort: Notify,
    turn_queue: Arc<TurnQueue>,
}

impl Streams {
    pub(super) fn new(turn_queue: Arc<TurnQueue>) -> Arc<Self> {
        let (open, aborted) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { open, aborted, abort: Notify::new(), turn_queue })
    }

    /// Ends the tasks of all streams.
    pub(super) fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
        self.abort.notify_waiters();
    }

    /// Whether the tasks of all streams end.
    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Completes when the tasks of all streams are to end.
    pub(super) async fn aborted(&self) {
        let aborted = self.abort.notified();
        if !self.is_aborted() {
            aborted.await;
        }
    }

    /// Adds the task of another stream.
    pub(super) fn run<F: Future>(self: &Arc<Self>, task: F) -> Running<F> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Running { task, turn: Turn::default(), open: Open(self.clone()) }
    }

    /// The number of streams.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether there are so many streams that the connection's tasks take turns.
    fn is_busy(&self) -> bool {
        self.open() > FEW_REQUESTS
    }

    /// Polls a task of the connection when it is its turn.
    #[inline]
    pub(super) fn poll<T>(
        &self,
        turn: &mut Turn,
        cx: &mut Context<'_>,
        task: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.is_busy() {
            return turn.poll(&self.turn_queue, cx, task);
        }
        turn.leave();
        task(cx)
    }
}

/// Counts a stream while it exists.
#[derive(Debug)]
struct Open(Arc<Streams>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// The task of a stream.
    pub(super) struct Running<F> {
        #[pin]
        task: F,
        turn: Turn,
        open: Open,
    }
}

impl<F: Future> Future for Running<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.open.0.poll(this.turn, cx, |cx| this.task.poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use std::future::{pending, ready};

    use super::Streams;
    use crate::exchange::FEW_REQUESTS;
    use crate::turns::TurnQueue;

    #[test]
    fn streams_count_as_many_above_a_threshold_of_open_streams() {
        let streams = Streams::new(TurnQueue::new());
        let few: Vec<_> = (0..FEW_REQUESTS).map(|_| streams.run(pending::<()>())).collect();
        assert!(!streams.is_busy());
        let one_more = streams.run(ready(1));
        assert!(streams.is_busy());
        assert_eq!(one_more.now_or_never(), Some(1));
        assert!(!streams.is_busy());
        drop(few);
    }
}
