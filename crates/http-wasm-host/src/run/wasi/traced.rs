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
        if let ("fd_write", &[_, iovs, count, nwritten]) = (function, args) {
            passed = gathered(memory, iovs as u32, count as u32, nwritten as u32).unwrap_or_default();
        }
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
        "fd_write" | "fd_read" => vec![(at(3), 4)],
        "fd_fdstat_get" => vec![(at(1), 24)],
        "fd_filestat_get" => vec![(at(1), 64)],
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
