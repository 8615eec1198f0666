//! Traces WASI calls.

use wasmtime::Caller;

use super::errno::{field, slice};
use super::state::HasWasi;
use crate::error::CallError;
use crate::run::memory;
use crate::trace::{CallResult, TraceEvent, TracedWasiCall};

const EVENT: u32 = 32;
const IOVEC: u32 = 8;

/// Reports that a function has returned an error number or trapped. Does nothing without a tracer.
#[inline]
pub(super) fn returned<T: HasWasi>(
    caller: &mut Caller<'_, T>,
    function: &'static str,
    args: &[u64],
    answer: &wasmtime::Result<u32>,
) {
    if caller.data().traced().is_some() {
        event(caller, function, args, answer, None);
    }
}

/// The same for a function that has written to these ranges if it succeeded.
#[inline]
pub(super) fn returned_in<T: HasWasi>(
    caller: &mut Caller<'_, T>,
    function: &'static str,
    args: &[u64],
    answer: &wasmtime::Result<u32>,
    ranges: &[(u32, u32)],
) {
    if caller.data().traced().is_some() {
        event(caller, function, args, answer, Some(ranges));
    }
}

#[cold]
fn event<T: HasWasi>(
    caller: &mut Caller<'_, T>,
    function: &'static str,
    args: &[u64],
    answer: &wasmtime::Result<u32>,
    ranges: Option<&[(u32, u32)]>,
) {
    let result = match answer {
        Ok(errno) => CallResult::Returned((*errno).into()),
        Err(error) => CallResult::Trapped(match error.downcast_ref::<CallError>() {
            Some(call) => call.reason.to_string(),
            None => format!("{error:#}"),
        }),
    };
    let Ok((memory, data)) = memory::split(caller) else { return };
    let memory = &*memory;
    let (mut passed, mut written) = (Vec::new(), Vec::new());
    if result == CallResult::Returned(0) {
        let ranges = ranges.map_or_else(|| ranges_of(function, args, memory), <[_]>::to_vec);
        for (offset, len) in ranges {
            if let Ok(bytes) = slice(memory, offset, len) {
                written.push((offset, bytes));
            }
        }
    }
    if let CallResult::Returned(errno) = result {
        passed = passed_to(function, args, memory, errno == 0);
    }
    if let Some(traced) = data.traced() {
        let call = TracedWasiCall { function, args, result, passed, written };
        traced.event(&TraceEvent::WasiCall(call));
    }
}

/// The ranges of memory that a successful function has written to.
fn ranges_of(function: &str, args: &[u64], memory: &[u8]) -> Vec<(u32, u32)> {
    let at = |n: usize| args.get(n).copied().unwrap_or_default() as u32;
    match function {
        "args_sizes_get" | "environ_sizes_get" => vec![(at(0), 4), (at(1), 4)],
        "clock_time_get" => vec![(at(2), 8)],
        "clock_res_get" => vec![(at(1), 8)],
        "random_get" => vec![(at(0), at(1))],
        "fd_write" => vec![(at(3), 4)],
        "fd_pwrite" => vec![(at(4), 4)],
        "fd_read" => read(memory, at(1), at(2), at(3)),
        "fd_pread" => read(memory, at(1), at(2), at(4)),
        "fd_readdir" => vec![(at(1), number(memory, at(4)).unwrap_or_default()), (at(4), 4)],
        "fd_fdstat_get" => vec![(at(1), 24)],
        "fd_filestat_get" => vec![(at(1), 64)],
        "fd_prestat_get" => vec![(at(1), 8)],
        "fd_prestat_dir_name" => vec![(at(1), at(2))],
        "fd_seek" => vec![(at(3), 8)],
        "fd_tell" => vec![(at(1), 8)],
        "path_filestat_get" => vec![(at(4), 64)],
        "path_open" => vec![(at(8), 4)],
        "path_readlink" => vec![(at(3), number(memory, at(5)).unwrap_or_default()), (at(5), 4)],
        "poll_oneoff" => {
            let events = number(memory, at(3)).unwrap_or_default();
            vec![(at(1), events.saturating_mul(EVENT)), (at(3), 4)]
        }
        _ => Vec::new(),
    }
}

fn number(memory: &[u8], at: u32) -> Option<u32> {
    slice(memory, at, 4).and_then(|bytes| field(bytes, 0)).map(u32::from_le_bytes).ok()
}

/// The parts of buffers that a call has read into, and the place of their length.
fn read(memory: &[u8], iovs: u32, count: u32, nread: u32) -> Vec<(u32, u32)> {
    let Some(mut left) = number(memory, nread) else { return Vec::new() };
    let mut ranges = Vec::new();
    for iov in (0..count).map(|n| iovs.wrapping_add(n.wrapping_mul(IOVEC))) {
        let iov = number(memory, iov).zip(number(memory, iov.wrapping_add(4)));
        let Some((offset, len)) = iov.filter(|_| left > 0) else { break };
        ranges.push((offset, len.min(left)));
        left -= len.min(left);
    }
    ranges.push((nread, 4));
    ranges
}

/// The bytes that a guest has passed: what was written, or the paths, a NUL between two of them.
fn passed_to(function: &str, args: &[u64], memory: &[u8], succeeded: bool) -> Vec<u8> {
    let path = |at: usize| match args.get(at..at + 2) {
        Some(&[offset, len]) => slice(memory, offset as u32, len as u32).unwrap_or_default(),
        _ => &[],
    };
    let paths: &[usize] = match (function, args) {
        ("fd_write", &[_, iovs, count, nwritten]) | ("fd_pwrite", &[_, iovs, count, _, nwritten])
            if succeeded =>
        {
            return gathered(memory, iovs as u32, count as u32, nwritten as u32).unwrap_or_default();
        }
        ("path_create_directory" | "path_readlink" | "path_remove_directory" | "path_unlink_file", _) => &[1],
        ("path_filestat_get" | "path_filestat_set_times" | "path_open", _) => &[2],
        ("path_link", _) => &[2, 5],
        ("path_rename", _) => &[1, 4],
        ("path_symlink", _) => &[0, 3],
        _ => return Vec::new(),
    };
    paths.iter().map(|at| path(*at)).collect::<Vec<_>>().join(&0)
}

/// The bytes that `fd_write` has accepted.
fn gathered(memory: &[u8], iovs: u32, count: u32, nwritten: u32) -> Option<Vec<u8>> {
    let mut left = number(memory, nwritten)?;
    let mut bytes = Vec::new();
    for iov in (0..count).map(|n| iovs + n * IOVEC) {
        let len = number(memory, iov + 4)?.min(left);
        bytes.extend_from_slice(slice(memory, number(memory, iov)?, len).ok()?);
        left -= len;
    }
    Some(bytes)
}
