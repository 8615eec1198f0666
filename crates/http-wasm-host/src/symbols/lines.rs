//! Source lines of the positions where a guest fails: each is looked up once, on a separate thread.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::debug_info::DebugInfo;

/// The maximum number of positions that are remembered. A guest usually fails in few; a malicious one could fail
/// anywhere.
const MAX_KNOWN: usize = 1024;

/// The maximum number of look-ups that wait for their turn.
const MAX_WAITING: usize = 8;

/// The maximum number of look-ups in a [`WINDOW`], and how long they may take together. Reading the debug information
/// of a large module takes a tenth of a second.
const MAX_PER_WINDOW: usize = 30;
const MAX_TIME_PER_WINDOW: Duration = Duration::from_secs(6);
const WINDOW: Duration = Duration::from_secs(60);

/// The source lines of one module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    debug_info: DebugInfo,
    known: Mutex<HashMap<u32, Arc<str>>>,
    work: Mutex<Work>,
}

/// A look-up that waits for its turn.
struct Job {
    places: Vec<u32>,
    then: Box<dyn FnOnce() + Send>,
}

struct Work {
    waiting: VecDeque<Job>,
    /// A thread is working on them. It stays set if that thread panics, because the next one would panic too.
    is_running: bool,
    window: Window,
}

/// The recent look-ups.
struct Window {
    began: Instant,
    jobs: usize,
    took: Duration,
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, jobs: 0, took: Duration::ZERO }
    }

    /// Whether another look-up is allowed.
    fn admits(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.began) >= WINDOW {
            *self = Self::new(now);
        }
        if self.jobs >= MAX_PER_WINDOW || self.took >= MAX_TIME_PER_WINDOW {
            return false;
        }
        self.jobs += 1;
        true
    }
}

impl Lines {
    pub(super) fn new(debug_info: DebugInfo) -> Self {
        let work = Work { waiting: VecDeque::new(), is_running: false, window: Window::new(Instant::now()) };
        Self(Arc::new(Shared { debug_info, known: Mutex::default(), work: Mutex::new(work) }))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.debug_info.bytes()
    }

    /// What is known about this position, which may be nothing.
    pub(super) fn known(&self, place: u32) -> Option<Arc<str>> {
        lock(&self.0.known).get(&place).cloned()
    }

    /// Looks up these positions now.
    pub(super) fn look_up(&self, places: &[u32]) {
        let unknown = self.unknown(places);
        if !unknown.is_empty() {
            let found = self.0.debug_info.look_up(&unknown);
            let mut known = lock(&self.0.known);
            if known.len() + unknown.len() > MAX_KNOWN {
                known.clear();
            }
            known.extend(unknown.into_iter().zip(found.into_iter().map(Into::into)));
        }
    }

    /// Looks up these positions on another thread and calls `then` there, unless they are known already or too many
    /// have been looked up recently. What isn't looked up now may be looked up when the guest fails there again.
    pub(super) fn look_up_later(&self, places: &[u32], then: impl FnOnce() + Send + 'static) {
        let places = self.unknown(places);
        if places.is_empty() {
            return;
        }
        let mut work = lock(&self.0.work);
        let is_waiting = work.waiting.iter().any(|job| job.places == places);
        if is_waiting || work.waiting.len() >= MAX_WAITING || !work.window.admits(Instant::now()) {
            return;
        }
        work.waiting.push_back(Job { places, then: Box::new(then) });
        if !work.is_running {
            let lines = self.clone();
            let thread = thread::Builder::new().name("http-wasm-lines".into());
            match thread.spawn(move || lines.work()) {
                Ok(_) => work.is_running = true,
                Err(_) => work.waiting.clear(),
            }
        }
    }

    fn work(&self) {
        loop {
            let job = {
                let mut work = lock(&self.0.work);
                let Some(job) = work.waiting.pop_front() else {
                    work.is_running = false;
                    return;
                };
                job
            };
            let began = Instant::now();
            self.look_up(&job.places);
            lock(&self.0.work).window.took += began.elapsed();
            (job.then)();
        }
    }

    fn unknown(&self, places: &[u32]) -> Vec<u32> {
        let known = lock(&self.0.known);
        places.iter().copied().filter(|place| !known.contains_key(place)).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ups_are_limited_in_number_and_time_per_minute() {
        let now = Instant::now();
        let mut window = Window::new(now);
        let admitted = (0..100).filter(|_| window.admits(now)).count();
        assert_eq!(admitted, MAX_PER_WINDOW);
        assert!(!window.admits(now + WINDOW / 2));
        assert!(window.admits(now + WINDOW));
        window.took += MAX_TIME_PER_WINDOW;
        assert!(!window.admits(now + WINDOW + WINDOW / 2));
        assert!(window.admits(now + 2 * WINDOW));
    }
}
