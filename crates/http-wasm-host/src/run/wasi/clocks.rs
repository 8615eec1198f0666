//! Clocks and random numbers. All guests get real ones.

use std::time::{Duration, Instant, SystemTime};

use super::errno::{Answer, Errno, put_u64, slice_mut};
use super::state::Call;

pub(super) const REALTIME: u32 = 0;
pub(super) const MONOTONIC: u32 = 1;
const PROCESS_CPU_TIME: u32 = 2;
const THREAD_CPU_TIME: u32 = 3;

/// Random bytes per call. Generating them blocks the thread: 4 MiB take about as long as a guest may compute between
/// two epoch checks. Keys and seeds take a few dozen bytes.
const MAX_RANDOM: u32 = 4 * 1024 * 1024;

/// The time of clock `id` in nanoseconds, for an instance created at `made`.
pub(super) fn now(id: u32, made: Instant) -> Result<u64, Errno> {
    let time = match id {
        REALTIME => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        // CPU time of the guest isn't measured. Programs that ask for it want to distinguish moments, which this
        // allows; an error would stop some of them. Never zero, which Go's runtime takes for a broken clock.
        MONOTONIC | PROCESS_CPU_TIME | THREAD_CPU_TIME => made.elapsed() + Duration::from_nanos(1),
        _ => return Err(Errno::INVAL),
    };
    Ok(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn clock_time_get(call: &mut Call<'_>, id: u32, _precision: u64, time: u32) -> Answer {
    put_u64(call.memory, time, now(id, call.wasi.made)?)
}

pub(super) fn clock_res_get(call: &mut Call<'_>, id: u32, resolution: u32) -> Answer {
    now(id, call.wasi.made)?;
    put_u64(call.memory, resolution, 1)
}

pub(super) fn random_get(call: &mut Call<'_>, buf: u32, buf_len: u32) -> Answer {
    if buf_len > MAX_RANDOM {
        return Err(Errno::INVAL);
    }
    getrandom::fill(slice_mut(call.memory, buf, buf_len)?).map_err(|_| Errno::IO)
}

/// There is nothing else to run in the guest; the epoch lets other tasks run.
pub(super) fn sched_yield(_: &mut Call<'_>) -> Answer {
    Ok(())
}

/// There are no signals; preview 1's own successor dropped this function.
pub(super) fn proc_raise(_: &mut Call<'_>, _signal: u32) -> Answer {
    Err(Errno::NOSYS)
}
