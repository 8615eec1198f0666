//! Logs that loading is slow, so that users who wait for a server to start know why.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long loading may take before that is logged, and how often it is logged afterwards.
const FIRST_NOTICE: Duration = Duration::from_secs(1);
const NOTICE_INTERVAL: Duration = Duration::from_secs(10);

/// Logs that loading a guest is slow, until it is dropped.
pub(crate) struct SlowLoad {
    guest: Arc<str>,
    began: Instant,
    state: Arc<Mutex<State>>,
    /// Stops the thread when it is dropped.
    _done: Sender<()>,
}

/// What has been logged.
#[derive(Default)]
struct State {
    is_mentioned: bool,
    is_loaded: bool,
}

impl SlowLoad {
    pub(super) fn watch(guest: &Arc<str>) -> Self {
        let (done, loaded) = channel();
        let began = Instant::now();
        let state = Arc::new(Mutex::new(State::default()));
        let watched = Self { guest: guest.clone(), began, state: state.clone(), _done: done };
        let guest = guest.clone();
        let span = tracing::Span::current();
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let watch = move || {
            let mut wait = FIRST_NOTICE;
            tracing::dispatcher::with_default(&dispatch, || {
                let _span = span.enter();
                while let Err(RecvTimeoutError::Timeout) = loaded.recv_timeout(wait) {
                    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    if !state.is_loaded {
                        (state.is_mentioned, wait) = (true, NOTICE_INTERVAL);
                        let seconds = began.elapsed().as_secs();
                        tracing::info!(guest = &*guest, seconds, "the guest is being compiled and started");
                    }
                }
                let state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.is_mentioned && !state.is_loaded {
                    let seconds = began.elapsed().as_secs_f64();
                    tracing::info!(guest = &*guest, done = true, "loading failed after {seconds:.1} s");
                }
            });
        };
        // If there is no thread, nothing is logged, but the guest is loaded anyway.
        let _ = thread::Builder::new().name("http-wasm-loading".into()).spawn(watch);
        watched
    }

    /// Logs the sizes of the loaded guest, if it was logged that loading is slow.
    pub(crate) fn loaded(self, code_bytes: usize, memory_bytes: usize, debug_info_bytes: usize) {
        let is_mentioned = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.is_loaded = true;
            state.is_mentioned
        };
        let seconds = self.began.elapsed().as_secs_f64();
        let [code, memory, debug_info] =
            [code_bytes, memory_bytes, debug_info_bytes].map(|bytes| bytes.div_ceil(1024));
        let sizes = format!(
            "loaded in {seconds:.1} s: {code} KiB of machine code, {memory} KiB of memory for an instance, \
             {debug_info} KiB of debug information"
        );
        let guest = &*self.guest;
        if is_mentioned {
            tracing::info!(guest, code_bytes, memory_bytes, debug_info_bytes, done = true, "{sizes}");
        } else {
            tracing::debug!(guest, code_bytes, memory_bytes, debug_info_bytes, "{sizes}");
        }
    }
}
