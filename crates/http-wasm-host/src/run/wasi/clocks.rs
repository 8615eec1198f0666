//! Clocks and randomness: real ones, for every guest.

use std::time::{Duration, Instant, SystemTime};

use super::errno::{Answer, Errno, put_u64, slice_mut};
use super::state::Call;

pub(super) const REALTIME: u32 = 0;
pub(super) const MONOTONIC: u32 = 1;
const PROCESS_CPU_TIME: u32 = 2;
const THREAD_CPU_TIME: u32 = 3;

/// Random bytes per call. Making them holds the thread, 4 MiB about as long as a guest may compute between two
/// looks at the clock; keys and seeds take some dozens.
const MAX_RANDOM: u32 = 4 * 1024 * 1024;

/// Nanoseconds that clock `id` shows, for an instance made at `made`.
pub(super) fn now(id: u32, made: Instant) -> Result<u64, Errno> {
    let time = match id {
        REALTIME => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        // Time that the guest itself has computed for isn't measured. Programs that ask want to tell moments
        // apart, which this does; an error would stop some of them.
        // Never zero, which Go's runtime takes for a broken clock.
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

/// Nothing else can run in the guest; that the host gets its turn is seen to by its clock.
pub(super) fn sched_yield(_: &mut Call<'_>) -> Answer {
    Ok(())
}

/// There are no signals; preview 1's own successor dropped this.
pub(super) fn proc_raise(_: &mut Call<'_>, _signal: u32) -> Answer {
    Err(Errno::NOSYS)
}
