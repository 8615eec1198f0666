//! `wasi_snapshot_preview1`, for guests that import it.
//!
//! A guest without mounted directories, which nearly all are, gets our own synchronous definitions of all functions:
//! an asynchronous one in the linker would put each call into the guest on a fiber. With mounts, wasmtime-wasi does the
//! files, and ours stand in for the functions that have nothing to do with them.

mod absent;
mod clocks;
mod config;
mod errno;
mod files;
mod lines;
mod poll;
mod preview1;
mod stdio;
mod strings;
#[cfg(test)]
mod tests;
mod threads;

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use wasmtime::{Caller, Linker};

pub use self::config::{Mount, WasiConfig};
pub(crate) use self::threads::{FileThreads, FileThreadsByGuest};

use self::errno::{Answer, Errno};
use self::files::Files;
use self::lines::{Lines, Speaker};
use self::strings::Strings;
use crate::error::{CallError, Reason};
use crate::load::inspect::WASI as MODULE;
use crate::run::memory::{self, HasMemory};
use crate::run::state::Shared;
use crate::run::suspend::{self, Suspend, Suspension};

/// The functions that may have to wait; their imports get a shim (see [`crate::run::suspend`]).
pub(crate) const SUSPENDING: [(&str, &str); 1] = [(MODULE, "poll_oneoff")];

/// What a store's data must tell so that its guest can use WASI.
pub(crate) trait HasWasi: HasMemory + Suspend {
    fn wasi(&mut self) -> (&mut WasiState, &Shared, &Suspension);
}

/// One instance's part of WASI.
pub(crate) struct WasiState {
    /// The monotonic clock counts from here.
    made: Instant,
    stdout: Lines,
    stderr: Lines,
    waiting: Option<poll::Waiting>,
    files: Option<Box<Files>>,
}

impl WasiState {
    /// Opens what is granted by `config`, which has been [checked](WasiConfig::check), for use on `threads` if there are mounts.
    /// The error tells which grant can't be any more, and why. With mounts it may block.
    pub(crate) fn new(config: &WasiConfig, threads: Option<Arc<FileThreads>>) -> Result<Self, String> {
        let files = match threads {
            Some(threads) => Some(Box::new(Files::open(&config.mounts, threads)?)),
            None => None,
        };
        let (stdout, stderr) = Default::default();
        Ok(Self { made: Instant::now(), stdout, stderr, waiting: None, files })
    }

    /// What the monotonic clock shows.
    pub(crate) fn clock(&self) -> Duration {
        self.made.elapsed()
    }

    /// Lets the monotonic clock go on from `clock`. On a machine that hasn't run for so long, from what can be told.
    pub(crate) fn set_clock(&mut self, clock: Duration) {
        self.made = self.made.checked_sub(clock).unwrap_or(self.made);
    }

    /// Logs unfinished lines, as nobody knows when the guest will be called again.
    #[inline]
    pub(crate) fn flush(&mut self, shared: &Shared) {
        self.stdout.flush(Speaker { log: &shared.log, stream: "stdout" });
        self.stderr.flush(Speaker { log: &shared.log, stream: "stderr" });
        if let Some(files) = &self.files {
            files.flush();
        }
    }

    fn has_files(&self) -> bool {
        self.files.is_some()
    }
}

/// Registers preview 1, with what `config` grants.
pub(crate) fn add_to_linker<T: HasWasi>(linker: &mut Linker<T>, config: &WasiConfig) -> wasmtime::Result<()> {
    if !config.needs_async() {
        absent::add_to_linker(linker)?;
        add_stdio(linker)?;
        return add_fileless(linker, config);
    }
    wasmtime_wasi::p1::wasi_snapshot_preview1::add_to_linker(linker, |data: &mut T| {
        let (wasi, shared, _) = data.wasi();
        // A store made with another configuration than its linker has no files to show.
        let none = || Box::new(Files::none());
        wasi.files.get_or_insert_with(none).ctx(shared)
    })?;
    linker.allow_shadowing(true);
    let added = add_fileless(linker, config);
    linker.allow_shadowing(false);
    added
}

/// Registers a function under its own name: `linker, module::name(parameters)`.
macro_rules! define {
    ($linker:ident, $module:ident :: $name:ident ( $($arg:ident : $ty:ty),* )) => {
        $linker.func_wrap(
            MODULE,
            stringify!($name),
            |mut caller: Caller<'_, T> $(, $arg: $ty)*| -> wasmtime::Result<u32> {
                Call::with(&mut caller, stringify!($name), |call| $module::$name(call $(, $arg)*)).map(code)
            },
        )?;
    };
}

fn add_stdio<T: HasWasi>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    define!(linker, stdio::fd_close(fd: u32));
    define!(linker, stdio::fd_fdstat_get(fd: u32, stat: u32));
    define!(linker, stdio::fd_fdstat_set_flags(fd: u32, flags: u32));
    define!(linker, stdio::fd_filestat_get(fd: u32, stat: u32));
    define!(linker, stdio::fd_read(fd: u32, iovs: u32, iovs_len: u32, nread: u32));
    define!(linker, stdio::fd_write(fd: u32, iovs: u32, iovs_len: u32, nwritten: u32));
    Ok(())
}

/// What has nothing to do with files, and so is the same with and without them.
fn add_fileless<T: HasWasi>(linker: &mut Linker<T>, config: &WasiConfig) -> wasmtime::Result<()> {
    add_strings(linker, "args_sizes_get", "args_get", Strings::args(config))?;
    add_strings(linker, "environ_sizes_get", "environ_get", Strings::env(config))?;
    define!(linker, clocks::clock_res_get(id: u32, resolution: u32));
    define!(linker, clocks::clock_time_get(id: u32, precision: u64, time: u32));
    define!(linker, clocks::proc_raise(signal: u32));
    define!(linker, clocks::random_get(buf: u32, buf_len: u32));
    define!(linker, clocks::sched_yield());
    linker.func_wrap(MODULE, "proc_exit", |_: Caller<'_, T>, code: u32| -> wasmtime::Result<()> {
        Err(CallError { function: "proc_exit", reason: Reason::Exit(code) }.into())
    })?;
    linker.func_wrap(MODULE, "poll_oneoff", poll_oneoff)?;
    Ok(())
}

fn add_strings<T: HasWasi>(
    linker: &mut Linker<T>,
    sizes: &'static str,
    get: &'static str,
    strings: Strings,
) -> wasmtime::Result<()> {
    let strings = Arc::new(strings);
    let same = strings.clone();
    linker.func_wrap(MODULE, sizes, move |mut caller: Caller<'_, T>, count: u32, size: u32| {
        Call::with(&mut caller, sizes, |call| same.sizes(call.memory, count, size)).map(code)
    })?;
    linker.func_wrap(MODULE, get, move |mut caller: Caller<'_, T>, pointers: u32, buffer: u32| {
        Call::with(&mut caller, get, |call| strings.get(call.memory, pointers, buffer)).map(code)
    })?;
    Ok(())
}

fn poll_oneoff<T: HasWasi>(
    mut caller: Caller<'_, T>,
    subscriptions: u32,
    events: u32,
    count: u32,
    nevents: u32,
) -> wasmtime::Result<u32> {
    let function = "poll_oneoff";
    let answer = Call::with(&mut caller, function, |call| {
        let answer = poll::poll_oneoff(call, subscriptions, events, count, nevents);
        (answer, call.suspension.can_wait())
    })?;
    match answer {
        (Ok(Poll::Ready(())), _) => Ok(code(Ok(()))),
        (Err(errno), _) => Ok(code(Err(errno))),
        (Ok(Poll::Pending), true) => {
            suspend::wait(&mut caller);
            // What the shim takes for `PENDING`.
            Ok(u32::MAX)
        }
        (Ok(Poll::Pending), false) => {
            let reason = Reason::Internal("a guest that may sleep was called where it can't");
            Err(CallError { function, reason }.into())
        }
    }
}

/// What a function works with.
struct Call<'a> {
    memory: &'a mut [u8],
    wasi: &'a mut WasiState,
    shared: &'a Shared,
    suspension: &'a Suspension,
}

impl Call<'_> {
    fn with<T: HasWasi, R>(
        caller: &mut Caller<'_, T>,
        function: &'static str,
        f: impl FnOnce(&mut Call<'_>) -> R,
    ) -> wasmtime::Result<R> {
        let (memory, data) = memory::split(caller).map_err(|reason| CallError { function, reason })?;
        let (wasi, shared, suspension) = data.wasi();
        Ok(f(&mut Call { memory, wasi, shared, suspension }))
    }
}

fn code(answer: Answer) -> u32 {
    answer.map_or_else(Errno::code, |()| 0).into()
}
