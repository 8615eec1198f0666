//! `wasi_snapshot_preview1`, for guests that import it.
//!
//! Guests without mounted directories, which are nearly all, get the host's own synchronous definitions of all
//! functions: an asynchronous one in the linker would put each call into the guest on a fiber. With mounts,
//! wasmtime-wasi handles files, and the host's own functions handle everything else.

mod absent;
mod clocks;
mod config;
mod errno;
mod files;
mod lines;
mod poll;
mod preview1;
mod state;
mod stdio;
mod strings;
#[cfg(test)]
mod tests;
mod traced;
mod traced_files;

use std::sync::Arc;
use std::task::Poll;

use wasmtime::{Caller, Linker};

pub use self::config::{Mount, WasiConfig};
pub(crate) use self::state::{HasWasi, WasiState};

use self::errno::{Answer, Errno};
use self::state::Call;
use self::strings::Strings;
use crate::abi::WASI_MODULE as MODULE;
use crate::error::{CallError, Reason};
use crate::run::suspend::{self, WaitsFor};

/// The functions that may have to wait. Their imports get a shim (see [`crate::run::suspend`]).
pub(crate) const SUSPENDING: [(&str, &str); 1] = [(MODULE, "poll_oneoff")];

/// Registers preview 1, with what `config` grants. Calls are traced if `traces_files`; those that have nothing to do
/// with files are in any case, if there is a tracer.
pub(crate) fn add_to_linker<T: HasWasi>(
    linker: &mut Linker<T>,
    config: &WasiConfig,
    traces_files: bool,
) -> wasmtime::Result<()> {
    if !config.needs_async() {
        absent::add_to_linker(linker)?;
        add_stdio(linker)?;
        return add_fileless(linker, config);
    }
    if traces_files {
        traced_files::add_to_linker(linker)?;
        return add_fileless(linker, config);
    }
    wasmtime_wasi::p1::wasi_snapshot_preview1::add_to_linker(linker, state::files_of)?;
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
                let name = stringify!($name);
                let answer = Call::with(&mut caller, name, |call| $module::$name(call $(, $arg)*)).map(code);
                traced::returned(&mut caller, name, &[$(u64::from($arg)),*], &answer);
                answer
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

/// Adds the functions that don't involve files. They are the same with and without mounts.
fn add_fileless<T: HasWasi>(linker: &mut Linker<T>, config: &WasiConfig) -> wasmtime::Result<()> {
    add_strings(linker, "args_sizes_get", "args_get", Strings::args(config))?;
    add_strings(linker, "environ_sizes_get", "environ_get", Strings::env(config))?;
    define!(linker, clocks::clock_res_get(id: u32, resolution: u32));
    define!(linker, clocks::clock_time_get(id: u32, precision: u64, time: u32));
    define!(linker, clocks::proc_raise(signal: u32));
    define!(linker, clocks::random_get(buf: u32, buf_len: u32));
    define!(linker, clocks::sched_yield());
    linker.func_wrap(
        MODULE,
        "proc_exit",
        |mut caller: Caller<'_, T>, code: u32| -> wasmtime::Result<()> {
            let name = "proc_exit";
            let exit = Err(CallError { function: name, reason: Reason::Exit(code) }.into());
            traced::returned(&mut caller, name, &[code.into()], &exit);
            exit.map(|_| ())
        },
    )?;
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
        let answer = Call::with(&mut caller, sizes, |call| same.sizes(call.memory, count, size)).map(code);
        traced::returned(&mut caller, sizes, &[count.into(), size.into()], &answer);
        answer
    })?;
    linker.func_wrap(MODULE, get, move |mut caller: Caller<'_, T>, pointers: u32, buffer: u32| {
        let answer =
            Call::with(&mut caller, get, |call| strings.get(call.memory, pointers, buffer)).map(code);
        let (table, bytes) = strings.lengths();
        let args = [pointers.into(), buffer.into()];
        traced::returned_in(&mut caller, get, &args, &answer, &[(pointers, table), (buffer, bytes)]);
        answer
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
    let answered = |caller: &mut Caller<'_, T>, answer: Answer| {
        let answer = Ok(code(answer));
        let args = [subscriptions, events, count, nevents].map(u64::from);
        traced::returned(caller, function, &args, &answer);
        answer
    };
    match answer {
        (Ok(Poll::Ready(())), _) => answered(&mut caller, Ok(())),
        (Err(errno), _) => answered(&mut caller, Err(errno)),
        (Ok(Poll::Pending), true) => {
            suspend::wait(&mut caller, WaitsFor::Time);
            // The shim interprets this as `PENDING`.
            Ok(u32::MAX)
        }
        (Ok(Poll::Pending), false) => {
            let reason = Reason::Internal("a guest that may sleep was called where it can't");
            Err(CallError { function, reason }.into())
        }
    }
}

fn code(answer: Answer) -> u32 {
    answer.map_or_else(Errno::code, |()| 0).into()
}
