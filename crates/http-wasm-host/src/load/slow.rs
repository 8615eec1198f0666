//! Reports that loading takes long, so that a user who waits for a server to start knows why.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long loading may take before it is mentioned, and how often it is mentioned after that.
const FIRST: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(10);

/// As long as it exists, logs that loading a guest takes long.
pub(crate) struct SlowLoad {
    /// Tells the thread to stop when it is dropped.
    _done: Sender<()>,
}

impl SlowLoad {
    pub(super) fn watch(guest: &Arc<str>) -> Self {
        let (done, loaded) = channel();
        let guest = guest.clone();
        let span = tracing::Span::current();
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let watch = move || {
            let (began, mut mentioned) = (Instant::now(), false);
            tracing::dispatcher::with_default(&dispatch, || {
                let _span = span.enter();
                while let Err(RecvTimeoutError::Timeout) =
                    loaded.recv_timeout(if mentioned { AGAIN } else { FIRST })
                {
                    mentioned = true;
                    let seconds = began.elapsed().as_secs();
                    tracing::info!(guest = &*guest, seconds, "the guest is being compiled and started");
                }
                if mentioned {
                    let seconds = began.elapsed().as_secs_f64();
                    tracing::info!(guest = &*guest, done = true, "loading the guest took {seconds:.1} s");
                }
            });
        };
        // Without a thread nothing is logged, but the guest is loaded anyway.
        let _ = thread::Builder::new().name("http-wasm-loading".into()).spawn(watch);
        Self { _done: done }
    }
}
