//! An instance's WASI state, and the arguments of WASI functions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Caller;

use super::config::WasiConfig;
use super::files::Files;
use super::lines::{LineSink, Lines, Stream};
use super::preview1::Preview1;
use crate::engine::FileThreads;
use crate::error::CallError;
use crate::log::Log;
use crate::run::hook::TracedInstance;
use crate::run::memory::{self, HasMemory};
use crate::run::suspend::{Suspend, Suspension};
use crate::runtime::Task;

/// What a store's data must provide so that its guest can use WASI.
pub(crate) trait HasWasi: HasMemory + Suspend {
    fn wasi(&mut self) -> (&mut WasiState, &Arc<Log>, &Suspension);

    /// The instance, if a tracer follows it.
    fn traced(&self) -> Option<&TracedInstance> {
        None
    }
}

/// An instance's WASI state.
pub(crate) struct WasiState {
    /// When the monotonic clock started.
    pub(super) made: Instant,
    pub(super) stdout: Lines,
    pub(super) stderr: Lines,
    pub(super) waiting: Option<Waiting>,
    pub(super) files: Option<Box<Files>>,
}

impl WasiState {
    /// Opens what `config` grants, for use on `threads` if there are mounts. `config` must have been
    /// [checked](WasiConfig::check). The error says what can no longer be granted, and why. May block if there are
    /// mounts.
    pub(crate) fn new(config: &WasiConfig, threads: Option<Arc<FileThreads>>) -> Result<Self, String> {
        let files = match threads {
            Some(threads) => Some(Box::new(Files::open(&config.mounts, threads)?)),
            None => None,
        };
        let (stdout, stderr) = Default::default();
        Ok(Self { made: Instant::now(), stdout, stderr, waiting: None, files })
    }

    /// The time of the monotonic clock.
    pub(crate) fn clock(&self) -> Duration {
        self.made.elapsed()
    }

    /// Makes the monotonic clock continue from `clock`, if this machine has been running for at least that long.
    pub(crate) fn set_clock(&mut self, clock: Duration) {
        self.made = self.made.checked_sub(clock).unwrap_or(self.made);
    }

    /// Logs incomplete lines, since the guest may not be called again for a long time.
    #[inline]
    pub(crate) fn flush(&mut self, log: &Arc<Log>) {
        self.stdout.flush(LineSink { log, stream: Stream::Stdout });
        self.stderr.flush(LineSink { log, stream: Stream::Stderr });
        if let Some(files) = &self.files {
            files.flush();
        }
    }

    /// Discards the output of the previous call.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.stderr.begin();
        if let Some(files) = &self.files {
            files.begin();
        }
    }

    /// The output on stderr during this call, in a few lines.
    pub(crate) fn excerpt(&self) -> Option<String> {
        match &self.files {
            Some(files) => files.excerpt(),
            None => self.stderr.excerpt(),
        }
    }

    pub(super) fn has_files(&self) -> bool {
        self.files.is_some()
    }
}

/// A wait in progress. It is kept while the guest is suspended and its host call retried.
pub(super) struct Waiting {
    pub(super) since: Instant,
    pub(super) sleep: Option<Task>,
}

/// The context of an instance for wasmtime-wasi's functions.
pub(super) fn files_of<T: HasWasi>(data: &mut T) -> &mut Preview1 {
    let (wasi, log, _) = data.wasi();
    // A store that was created with a different configuration from its linker's has no files.
    wasi.files.get_or_insert_with(|| Box::new(Files::none())).ctx(log)
}

/// The context of a WASI function.
pub(super) struct Call<'a> {
    pub(super) memory: &'a mut [u8],
    pub(super) wasi: &'a mut WasiState,
    pub(super) log: &'a Arc<Log>,
    pub(super) suspension: &'a Suspension,
}

impl Call<'_> {
    pub(super) fn with<T: HasWasi, R>(
        caller: &mut Caller<'_, T>,
        function: &'static str,
        f: impl FnOnce(&mut Call<'_>) -> R,
    ) -> wasmtime::Result<R> {
        let (memory, data) = memory::split(caller).map_err(|reason| CallError { function, reason })?;
        let (wasi, log, suspension) = data.wasi();
        Ok(f(&mut Call { memory, wasi, log, suspension }))
    }
}
