//! The log of an instance.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::encode::{Decoded, Entry, Names, Reader};
use super::event::Event;

/// The number of bytes per sealed segment. Readers only have to copy bytes that aren't sealed yet.
const SEGMENT: usize = 16 * 1024;

/// The number of bytes by which a log's memory grows.
const STEP: usize = 4 * 1024;

/// The time for writing one byte of a log to a file, in nanoseconds.
const WRITING_NS: u64 = 20;

/// An instance's guest, and its secrets.
#[derive(Debug)]
pub(crate) struct GuestOrigin {
    pub(crate) name: String,
    /// The file that it was loaded from, if it has one.
    pub(crate) path: Option<PathBuf>,
    /// SHA-256 of that file, in hexadecimal digits.
    pub(crate) sha256: String,
    /// The time limit for computing per call.
    pub(crate) deadline: Duration,
    pub(crate) secrets: GuestSecrets,
}

impl GuestOrigin {
    /// A guest with these secrets.
    #[cfg(test)]
    pub(super) fn with_secrets(secrets: GuestSecrets) -> Arc<Self> {
        let (name, deadline) = ("g".to_owned(), Duration::from_secs(1));
        Arc::new(Self { name, path: None, sha256: String::new(), deadline, secrets })
    }
}

/// The secrets of a guest, which are redacted wherever they appear.
#[derive(Default)]
pub(crate) struct GuestSecrets {
    pub(crate) config: Vec<u8>,
    /// The values of environment variables, and arguments.
    pub(crate) values: Vec<String>,
}

impl std::fmt::Debug for GuestSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// The memory limit for all logs and recorded bodies together.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    used: AtomicUsize,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    pub(super) fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit;
        if !fits {
            self.release(bytes);
        }
        fits
    }

    pub(super) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// The events of one instance, from its creation on. Positions are byte offsets.
#[derive(Debug)]
pub(super) struct InstanceLog {
    pub(super) guest: Arc<GuestOrigin>,
    /// The number of the instance, unique within the guest.
    pub(super) instance: u64,
    memory: Arc<Memory>,
    limit: usize,
    entries: Mutex<Entries>,
    /// The duration of the start-up in nanoseconds.
    start_up: AtomicU64,
    /// The number of bytes that have been written to a file.
    written: AtomicUsize,
    /// The number of bytes that were written repeatedly, since each file begins with the creation of the instance.
    repeated: AtomicUsize,
}

#[derive(Debug, Default)]
struct Entries {
    names: Names,
    sealed: Vec<Arc<[u8]>>,
    open: Vec<u8>,
    sealed_len: usize,
    /// The reserved memory.
    taken: usize,
    /// Whether events at the end were left out.
    is_truncated: bool,
}

/// The end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) at: usize,
    /// Whether events before it were left out.
    pub(super) is_truncated: bool,
}

impl InstanceLog {
    pub(super) fn new(guest: Arc<GuestOrigin>, instance: u64, memory: Arc<Memory>, limit: usize) -> Self {
        Self {
            guest,
            instance,
            memory,
            limit,
            entries: Mutex::default(),
            start_up: AtomicU64::new(0),
            written: AtomicUsize::new(0),
            repeated: AtomicUsize::new(0),
        }
    }

    /// Adds an event, unless there is no room for it. Returns its position.
    pub(super) fn push(&self, entry: &Entry<'_>) -> usize {
        let mut entries = self.lock();
        let at = entries.len();
        if !self.has_room(&mut entries, entry.max_len()) {
            entries.is_truncated = true;
            return at;
        }
        let Entries { names, sealed, open, sealed_len, .. } = &mut *entries;
        if open.len() >= SEGMENT {
            *sealed_len += open.len();
            sealed.push(std::mem::replace(open, Vec::with_capacity(SEGMENT)).into());
        }
        entry.write(names, open);
        at
    }

    /// Reserves memory for this many bytes. Returns whether they may be added.
    fn has_room(&self, entries: &mut Entries, bytes: usize) -> bool {
        let len = entries.len() + bytes;
        if entries.is_truncated || len > self.limit {
            return false;
        }
        let more = len.saturating_sub(entries.taken);
        if more == 0 {
            return true;
        }
        let taken = [more.max(STEP), more].into_iter().find(|bytes| self.memory.take(*bytes));
        entries.taken += taken.unwrap_or(0);
        taken.is_some()
    }

    pub(super) fn started(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.start_up.store(took, Ordering::Relaxed);
    }

    /// The current end.
    pub(super) fn end(&self) -> End {
        let entries = self.lock();
        End { at: entries.len(), is_truncated: entries.is_truncated }
    }

    /// Notes that a file has been written that contains the log up to here.
    pub(super) fn was_written(&self, end: usize) {
        let before = self.written.fetch_max(end, Ordering::Relaxed);
        self.repeated.fetch_add(before.min(end), Ordering::Relaxed);
    }

    /// Whether another instance should serve the next exchange: the log is so long that only a single exchange still
    /// has room, or repeating it in the next file takes longer than the start-up of another instance.
    pub(super) fn is_done(&self) -> bool {
        let written = self.written.load(Ordering::Relaxed);
        if written > 0 {
            let repeated = (self.repeated.load(Ordering::Relaxed) + written) as u64;
            if repeated.saturating_mul(WRITING_NS) > self.start_up.load(Ordering::Relaxed) {
                return true;
            }
        }
        let entries = self.lock();
        entries.is_truncated || entries.len() > self.limit / 2
    }

    /// The events up to `end` with their positions.
    pub(super) fn events(&self, end: usize) -> Vec<(usize, Event)> {
        let (names, sealed, open) = {
            let entries = self.lock();
            (entries.names.clone(), entries.sealed.clone(), entries.open.clone())
        };
        let (mut events, mut start) = (Vec::new(), 0);
        for segment in sealed.iter().map(|segment| &**segment).chain([&*open]) {
            let mut reader = Reader::new(&names, segment);
            loop {
                let at = start + segment.len() - reader.rest();
                if at >= end {
                    return events;
                }
                match reader.next() {
                    Some(Decoded::Event(event)) => events.push((at, event)),
                    Some(Decoded::GrowthFailed) => {
                        if let Some((_, Event::Growth { granted, .. })) = events.last_mut() {
                            *granted = false;
                        }
                    }
                    None => break,
                }
            }
            start += segment.len();
        }
        events
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn len(&self) -> usize {
        self.sealed_len + self.open.len()
    }
}

impl Drop for InstanceLog {
    fn drop(&mut self) {
        self.memory.release(self.lock().taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(memory: &Arc<Memory>, limit: usize) -> InstanceLog {
        InstanceLog::new(GuestOrigin::with_secrets(GuestSecrets::default()), 0, memory.clone(), limit)
    }

    fn growth(to: u64) -> Entry<'static> {
        Entry::Growth { table: false, from: 0, to, granted: true }
    }

    #[test]
    fn events_are_read_up_to_the_end_that_is_wanted_whatever_is_sealed() {
        let log = log(&Memory::new(usize::MAX), usize::MAX);
        let positions: Vec<_> = (0..10_000).map(|n| log.push(&growth(n))).collect();
        assert!(log.lock().sealed.len() > 1);
        for count in [0, 1, 3000, 3001, 9999] {
            let expected = (0..count as u64).map(|n| {
                (positions[n as usize], Event::Growth { table: false, from: 0, to: n, granted: true })
            });
            assert_eq!(log.events(positions[count]), expected.collect::<Vec<_>>());
        }
        assert_eq!(log.events(log.end().at).len(), 10_000);
    }

    #[test]
    fn a_growth_that_fails_was_not_granted() {
        let log = log(&Memory::new(usize::MAX), usize::MAX);
        log.push(&growth(1));
        log.push(&growth(2));
        log.push(&Entry::GrowthFailed);
        let granted = |(_, event)| matches!(event, Event::Growth { granted: true, .. });
        let granted: Vec<_> = log.events(log.end().at).into_iter().map(granted).collect();
        assert_eq!(granted, [true, false]);
    }

    #[test]
    fn a_log_that_is_full_takes_no_more_and_says_so() {
        let memory = Memory::new(usize::MAX);
        let log = log(&memory, growth(0).max_len() + 10);
        log.push(&growth(0));
        assert!(!log.is_done());
        while !log.end().is_truncated {
            assert!(!log.is_done() || log.end().at > log.limit / 2);
            log.push(&growth(1));
        }
        assert!(log.is_done());
        let end = log.end().at;
        log.push(&growth(1));
        assert_eq!(log.end(), End { at: end, is_truncated: true });
        assert!(memory.used() > 0);
        drop(log);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn all_logs_together_are_limited() {
        let memory = Memory::new(2 * STEP + growth(0).max_len());
        let logs = [(); 4].map(|()| log(&memory, usize::MAX));
        for log in &logs {
            log.push(&growth(0));
        }
        assert_eq!(logs.each_ref().map(|log| log.end().is_truncated), [false, false, false, true]);
    }

    #[test]
    fn an_instance_is_replaced_when_repeating_its_log_takes_longer_than_its_start_up() {
        let log = log(&Memory::new(usize::MAX), usize::MAX);
        log.started(Duration::from_nanos(100 * WRITING_NS));
        for _ in 0..100 {
            log.push(&growth(0));
        }
        assert!(!log.is_done());
        log.was_written(40);
        assert!(!log.is_done());
        log.was_written(50);
        assert!(!log.is_done());
        log.was_written(61);
        assert!(log.is_done());
    }
}
