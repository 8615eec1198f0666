//! `poll_oneoff`, the only function implemented here that can make a guest wait.

use std::task::Poll;
use std::time::{Duration, Instant};

use super::clocks;
use super::errno::{Answer, Errno, field, put, put_u32, slice};
use super::state::{Call, Waiting};

/// The most subscriptions per call. This exceeds the usual limit on file descriptors.
const MAX_SUBSCRIPTIONS: u32 = 4096;

const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;
/// The flag of a clock subscription with an absolute timeout.
const ABSOLUTE: u16 = 1;

/// Returns `Pending`, with the waker registered, if the guest must wait.
pub(super) fn poll_oneoff(
    call: &mut Call<'_>,
    subscriptions: u32,
    events: u32,
    count: u32,
    nevents: u32,
) -> Result<Poll<()>, Errno> {
    // A wait for nothing would never end.
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Err(Errno::INVAL);
    }
    slice(call.memory, events, count * EVENT as u32)?;
    slice(call.memory, nevents, 4)?;
    let records = slice(call.memory, subscriptions, count * SUBSCRIPTION as u32)?;
    let parsed: Result<Vec<_>, _> = records.chunks_exact(SUBSCRIPTION).map(Subscription::parse).collect();
    let subscriptions = parsed?;
    let mut waiting =
        call.wasi.waiting.take().unwrap_or_else(|| Waiting { since: Instant::now(), sleep: None });
    loop {
        let mut due = Vec::new();
        let mut next = Duration::MAX;
        for subscription in &subscriptions {
            match subscription.look(call, waiting.since) {
                Ok(event) => due.push(event),
                Err(left) => next = next.min(left),
            }
        }
        if !due.is_empty() {
            return write(call.memory, events, nevents, &due).map(Poll::Ready);
        }
        let sleep = waiting.sleep.get_or_insert_with(|| call.suspension.engine().background().sleep(next));
        if call.suspension.poll(|cx| sleep.as_mut().poll(cx)).is_pending() {
            call.wasi.waiting = Some(waiting);
            return Ok(Poll::Pending);
        }
        // Check again: a timer may be early, and the real-time clock may have been set.
        waiting.sleep = None;
    }
}

fn write(memory: &mut [u8], events: u32, nevents: u32, due: &[Event]) -> Answer {
    put(memory, events, due.as_flattened())?;
    put_u32(memory, nevents, due.len() as u32)
}

type Event = [u8; EVENT];

struct Subscription {
    userdata: [u8; 8],
    kind: u8,
    what: Interest,
}

enum Interest {
    Clock { id: u32, nanos: u64, absolute: bool },
    Read(u32),
    Write(u32),
}

impl Subscription {
    fn parse(record: &[u8]) -> Result<Self, Errno> {
        let kind = u8::from_le_bytes(field(record, 8)?);
        // The ID of the clock, or the file descriptor.
        let id = u32::from_le_bytes(field(record, 16)?);
        let what = match kind {
            0 => {
                let flags = u16::from_le_bytes(field(record, 40)?);
                let nanos = u64::from_le_bytes(field(record, 24)?);
                Interest::Clock { id, nanos, absolute: flags & ABSOLUTE != 0 }
            }
            1 => Interest::Read(id),
            2 => Interest::Write(id),
            _ => return Err(Errno::INVAL),
        };
        Ok(Self { userdata: field(record, 0)?, kind, what })
    }

    /// The event if it has occurred, or else the time until it may occur.
    fn look(&self, call: &Call<'_>, since: Instant) -> Result<Event, Duration> {
        match self.what {
            Interest::Clock { id, nanos, absolute } => match left(id, nanos, absolute, call.wasi.made, since)
            {
                Ok(None) => Ok(self.event(None)),
                Ok(Some(left)) => Err(left),
                Err(errno) => Ok(self.event(Some(errno))),
            },
            // Files are always ready, and reading one that doesn't exist reports that.
            Interest::Read(0) | Interest::Write(1 | 2) => Ok(self.event(None)),
            _ if call.wasi.has_files() => Ok(self.event(None)),
            _ => Ok(self.event(Some(Errno::BADF))),
        }
    }

    fn event(&self, error: Option<Errno>) -> Event {
        let mut event = [0; EVENT];
        event[..8].copy_from_slice(&self.userdata);
        event[8..10].copy_from_slice(&error.map_or(0, Errno::code).to_le_bytes());
        event[10] = self.kind;
        event
    }
}

/// The time left until a clock subscription elapses, or `None` if it has.
fn left(
    id: u32,
    nanos: u64,
    absolute: bool,
    made: Instant,
    since: Instant,
) -> Result<Option<Duration>, Errno> {
    if id != clocks::REALTIME && id != clocks::MONOTONIC {
        return Err(Errno::INVAL);
    }
    let passed = match absolute {
        true => Duration::from_nanos(clocks::now(id, made)?),
        false => since.elapsed(),
    };
    Ok(Duration::from_nanos(nanos).checked_sub(passed).filter(|left| !left.is_zero()))
}
