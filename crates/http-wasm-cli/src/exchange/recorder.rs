//! Records what a guest does.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http_wasm_tower::{CallResult, LOG_TARGET, TraceEvent};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::entry::{CallEntry, Entry, EntryKind};
use crate::failure::Failure;

/// A record of what happens in exchanges. Cheap to clone; all clones share one record.
#[derive(Debug, Clone)]
pub(crate) struct Recorder(Arc<Mutex<Record>>);

#[derive(Debug)]
struct Record {
    since: Instant,
    entries: Vec<Entry>,
    /// Memory of the entries, roughly.
    bytes: usize,
    /// Maximum memory of the entries.
    max_bytes: usize,
    /// Number of entries that were dropped.
    left_out: usize,
}

/// Default for the maximum memory of a record. A guest can make millions of calls before its deadline.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Memory of an entry, excluding what a guest passes, roughly.
const ENTRY_BYTES: usize = 512;

impl Record {
    /// Adds an entry if there is room. `bytes` is how many bytes the guest has passed.
    fn push(&mut self, entry: Entry, bytes: usize) {
        let bytes = bytes + ENTRY_BYTES;
        if self.bytes + bytes > self.max_bytes {
            self.left_out += 1;
            return;
        }
        self.bytes += bytes;
        self.entries.push(entry);
    }

    /// A line that reports dropped entries, if there are any.
    fn left_out(&self) -> Option<Entry> {
        let left_out = self.left_out;
        if left_out == 0 {
            return None;
        }
        let room = match self.max_bytes >> 20 {
            0 => format!("{} KiB", self.max_bytes >> 10),
            mib => format!("{mib} MiB"),
        };
        let text = format!("{left_out} more calls and lines are not shown: they take more than {room}");
        let kind = EntryKind::Line { stream: "host".to_owned(), text };
        Some(Entry { at: self.since.elapsed(), kind, note: None })
    }
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self::with_room(MAX_BYTES)
    }

    /// A record that may take roughly this much memory.
    pub(crate) fn with_room(max_bytes: usize) -> Self {
        let (since, entries) = (Instant::now(), Vec::new());
        Self(Arc::new(Mutex::new(Record { since, entries, bytes: 0, max_bytes, left_out: 0 })))
    }

    /// Subscribes to the lines that guests write, at `level` and above. Works once per process.
    pub(crate) fn subscribe(&self, level: LevelFilter) -> Result<(), Failure> {
        let filter = Targets::new().with_target(LOG_TARGET, level);
        tracing_subscriber::registry()
            .with(Lines(self.clone()).with_filter(filter))
            .try_init()
            .map_err(|error| Failure::Other(format!("cannot set up the log: {error}")))
    }

    /// The tracer of a guest.
    pub(crate) fn tracer(&self) -> impl Fn(u64, &TraceEvent<'_>) + Send + Sync + 'static {
        let recorder = self.clone();
        move |_, event| recorder.event(event)
    }

    /// Takes what has been recorded so far, and restarts the time at 0.
    pub(crate) fn take(&self) -> Vec<Entry> {
        let mut record = self.lock();
        record.bytes = 0;
        let left_out = record.left_out();
        record.left_out = 0;
        record.since = Instant::now();
        let mut entries = std::mem::take(&mut record.entries);
        entries.extend(left_out);
        entries
    }

    /// A copy of what has been recorded so far.
    pub(crate) fn copy(&self) -> Vec<Entry> {
        let record = self.lock();
        record.entries.iter().cloned().chain(record.left_out()).collect()
    }

    /// Puts the entries of another record before those of this one.
    pub(crate) fn begin_with(&self, other: &Self) {
        let (earlier, bytes) = {
            let mut other = other.lock();
            (std::mem::take(&mut other.entries), std::mem::take(&mut other.bytes))
        };
        let mut record = self.lock();
        record.entries.splice(0..0, earlier);
        record.bytes += bytes;
    }

    /// Memory of the record, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Adds a line that a guest has written to this stream.
    pub(crate) fn line(&self, stream: String, text: String) {
        let mut record = self.lock();
        let (at, bytes) = (record.since.elapsed(), text.len());
        record.push(Entry { at, kind: EntryKind::Line { stream, text }, note: None }, bytes);
    }

    pub(crate) fn add(&self, kind: EntryKind, note: Option<String>) {
        let mut record = self.lock();
        let at = record.since.elapsed();
        record.entries.push(Entry { at, kind, note });
    }

    /// Whether any entry satisfies `is`.
    pub(crate) fn any(&self, is: impl Fn(&EntryKind) -> bool) -> bool {
        self.lock().entries.iter().any(|entry| is(&entry.kind))
    }

    /// Records what happens in an instance.
    pub(crate) fn event(&self, event: &TraceEvent<'_>) {
        let kind = match event {
            TraceEvent::Created => EntryKind::Created,
            TraceEvent::Started { error } => EntryKind::Started { error: error.map(ToString::to_string) },
            TraceEvent::Entered { phase, req_ctx, is_error, .. } => {
                EntryKind::Entered { phase: *phase, req_ctx: *req_ctx, is_error: *is_error }
            }
            TraceEvent::HostCall(call) => {
                let mut entry = CallEntry::of(call);
                let mut record = self.lock();
                let now = record.since.elapsed();
                let mut at = now;
                // A call that has waited is traced again with its answer.
                if let Some(Entry { at: since, kind: EntryKind::Call(waiting), .. }) = record.entries.last()
                    && waiting.result == CallResult::Waits
                    && waiting.function == entry.function
                {
                    at = *since;
                    entry.waited = Some(now.saturating_sub(*since));
                    record.entries.pop();
                }
                let note = call.note().map(Cow::into_owned);
                let bytes = entry.bytes;
                record.push(Entry { at, kind: EntryKind::Call(Box::new(entry)), note }, bytes);
                return;
            }
            TraceEvent::Returned { phase, proceeds, req_ctx, error, took } => EntryKind::Returned {
                phase: *phase,
                proceeds: *proceeds,
                req_ctx: *req_ctx,
                error: error.map(ToString::to_string),
                took: *took,
            },
            _ => return,
        };
        self.add(kind, None);
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records the lines that guests write to stdout and stderr, and reports of dropped lines.
struct Lines(Recorder);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // A call of `log` has neither field, and is recorded as a call.
        let fields = event.metadata().fields();
        if fields.field("stream").is_none() && fields.field("suppressed").is_none() {
            return;
        }
        let mut line = LineVisitor::default();
        event.record(&mut line);
        let stream = line.stream.unwrap_or_else(|| "host".to_owned());
        self.0.line(stream, line.text);
    }
}

#[derive(Default)]
struct LineVisitor {
    text: String,
    stream: Option<String>,
}

impl Visit for LineVisitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "stream" {
            self.stream = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string doesn't fail.
            let _ = write!(self.text, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_bounded_and_counts_the_entries_left_out() {
        let recorder = Recorder::new();
        let line = |text: &str| Entry {
            at: Default::default(),
            kind: EntryKind::Line { stream: "stdout".to_owned(), text: text.to_owned() },
            note: None,
        };
        // Pretend that each line takes that much.
        (0..100).for_each(|_| recorder.lock().push(line("kept"), MAX_BYTES / 10));
        let entries = recorder.take();
        let texts: Vec<_> = entries
            .iter()
            .map(|entry| match &entry.kind {
                EntryKind::Line { text, .. } => text.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        let (last, kept) = texts.split_last().expect("there are some");
        assert_eq!(kept, ["kept"; 9]);
        assert_eq!(*last, "91 more calls and lines are not shown: they take more than 64 MiB");
        // Taking the entries makes room for more.
        recorder.lock().push(line("next"), 0);
        assert_eq!(recorder.take().len(), 1);
    }
}
