//! Driving futures without an executor.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Runs `future` to its end on this thread, which is parked while nothing wakes it.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A future polled by hand, with a waker that counts.
pub(crate) struct ByHand<F> {
    future: Pin<Box<F>>,
    wakes: Arc<Count>,
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<F: Future> ByHand<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(future), wakes: Arc::default() }
    }

    /// The same future with another waker, and how often the old one has been called.
    pub(crate) fn handed_over(self) -> (Self, impl Fn() -> usize) {
        let Self { future, wakes } = self;
        (Self { future, wakes: Arc::default() }, move || wakes.0.load(Ordering::SeqCst))
    }

    /// How often the waker has been called.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    /// Polls until the future has ended or waits for somebody else: it may yield to other tasks in between.
    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        loop {
            let wakes = self.wakes();
            let waker = Waker::from(self.wakes.clone());
            match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending if self.wakes() > wakes => {}
                poll => return poll,
            }
        }
    }

    /// Polls a future that is expected to wait.
    #[track_caller]
    pub(crate) fn waits(&mut self) {
        assert!(self.poll().is_pending(), "it should have waited");
    }

    /// Polls a future that is expected to end.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it should have ended"),
        }
    }
}

/// Waits for what another thread brings about.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
