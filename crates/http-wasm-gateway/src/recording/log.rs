//! The log of an instance.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::event::Event;

/// Events that are sealed together. A reader copies only those that aren't sealed yet.
const SEGMENT: usize = 128;

/// The guest that an instance is one of, and what is secret about it.
#[derive(Debug)]
pub(crate) struct GuestOrigin {
    pub(crate) name: String,
    /// The file that it was loaded from, if it has one.
    pub(crate) path: Option<PathBuf>,
    /// SHA-256 of that file, in hexadecimal digits.
    pub(crate) sha256: String,
    /// How long it may compute per call.
    pub(crate) deadline: Duration,
    /// Whether it has access to directories, whose contents aren't recorded.
    pub(crate) has_mounts: bool,
    pub(crate) secrets: GuestSecrets,
}

/// What is redacted of a guest wherever it appears.
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

/// The memory that all logs and bodies that are kept may take together.
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
            self.give_back(bytes);
        }
        fits
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// What happened in one instance, from its creation on.
#[derive(Debug)]
pub(super) struct InstanceLog {
    pub(super) guest: Arc<GuestOrigin>,
    memory: Arc<Memory>,
    limit: usize,
    events: Mutex<Events>,
}

#[derive(Debug, Default)]
struct Events {
    sealed: Vec<Arc<[Event]>>,
    open: Vec<Event>,
    bytes: usize,
    /// Events have been left out at the end.
    is_cut: bool,
}

/// A part of a log.
#[derive(Debug)]
pub(super) struct Excerpt {
    pub(super) events: Vec<Event>,
    /// Events have been left out before the end of this part.
    pub(super) is_cut: bool,
}

impl InstanceLog {
    pub(super) fn new(guest: Arc<GuestOrigin>, memory: Arc<Memory>, limit: usize) -> Arc<Self> {
        Arc::new(Self { guest, memory, limit, events: Mutex::default() })
    }

    /// Adds an event, unless there is no room for it. Returns its position.
    pub(super) fn push(&self, event: Event) -> usize {
        let size = event.size();
        let mut events = self.lock();
        let at = events.len();
        if events.is_cut || events.bytes + size > self.limit || !self.memory.take(size) {
            events.is_cut = true;
            return at;
        }
        events.bytes += size;
        if events.open.len() == SEGMENT {
            let full = std::mem::take(&mut events.open);
            events.sealed.push(full.into());
        }
        events.open.push(event);
        at
    }

    /// The growth that was granted last has failed.
    pub(super) fn growth_failed(&self) {
        if let Some(Event::Growth { granted, .. }) = self.lock().open.last_mut() {
            *granted = false;
        }
    }

    /// The number of events.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether the log is so long that another instance should serve: a single exchange still has room.
    pub(super) fn is_full(&self) -> bool {
        let events = self.lock();
        events.is_cut || events.bytes > self.limit / 2
    }

    /// The events up to `end`.
    pub(super) fn excerpt(&self, end: usize) -> Excerpt {
        let (sealed, open, is_cut) = {
            let events = self.lock();
            (events.sealed.clone(), events.open.clone(), events.is_cut && end >= events.len())
        };
        let all = sealed.iter().flat_map(|segment| segment.iter().cloned()).chain(open);
        Excerpt { events: all.take(end).collect(), is_cut }
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    fn len(&self) -> usize {
        self.sealed.len() * SEGMENT + self.open.len()
    }
}

impl Drop for InstanceLog {
    fn drop(&mut self) {
        self.memory.give_back(self.lock().bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Arc<GuestOrigin> {
        Arc::new(GuestOrigin {
            name: "g".to_owned(),
            path: None,
            sha256: String::new(),
            deadline: Duration::from_secs(1),
            has_mounts: false,
            secrets: GuestSecrets::default(),
        })
    }

    fn growth(to: u64) -> Event {
        Event::Growth { table: false, from: 0, to, granted: true }
    }

    #[test]
    fn an_excerpt_ends_where_it_should_whatever_is_sealed() {
        let log = InstanceLog::new(origin(), Memory::new(usize::MAX), usize::MAX);
        for n in 0..300 {
            assert_eq!(log.push(growth(n)), n as usize);
        }
        for end in [0, 1, 127, 128, 129, 256, 299, 300] {
            let excerpt = log.excerpt(end);
            let expected: Vec<_> = (0..end as u64).map(growth).collect();
            assert_eq!((excerpt.events, excerpt.is_cut), (expected, false));
        }
    }

    #[test]
    fn a_log_that_is_full_takes_no_more_and_an_excerpt_says_whether_that_matters() {
        let memory = Memory::new(usize::MAX);
        let log = InstanceLog::new(origin(), memory.clone(), 4 * growth(0).size());
        for n in 0..3 {
            log.push(growth(n));
        }
        assert!(log.is_full());
        log.push(growth(3));
        log.push(growth(4));
        assert_eq!(log.len(), 4);
        assert!(log.excerpt(4).is_cut && !log.excerpt(3).is_cut);
        assert!(memory.used() > 0);
        drop(log);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn all_logs_together_are_limited() {
        let memory = Memory::new(3 * growth(0).size());
        let logs = [(); 4].map(|()| InstanceLog::new(origin(), memory.clone(), usize::MAX));
        for log in &logs {
            log.push(growth(0));
        }
        assert_eq!(logs.each_ref().map(|log| log.len()), [1, 1, 1, 0]);
        assert!(logs[3].excerpt(0).is_cut);
    }
}
