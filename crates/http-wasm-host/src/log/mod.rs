//! Guest logs: `tracing` events with one target and the guest's name.

mod rate;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tracing::Level;

use self::rate::Rate;
use crate::limits::Limits;
use crate::runtime::Background;
use crate::text::printable;

/// The `tracing` target of everything that guests log: the messages of the host function `log`, at their level, and
/// each line on stdout and stderr, at the levels INFO and WARN. Events have the guest's name in the field `guest`.
///
/// With a filter of `tracing-subscriber`, `http_wasm::guest=debug` shows the debug messages of guests.
pub const TARGET: &str = "http_wasm::guest";

/// How long dropped messages are counted before they are reported in one line.
const REPORT_AFTER: Duration = Duration::from_secs(1);

/// `tracing` fixes the level of an event at compile time, so a level that is known only at run time needs one event for
/// each.
macro_rules! by_level {
    ($level:expr, $event:ident) => {
        match $level {
            Level::ERROR => $event!(Level::ERROR),
            Level::WARN => $event!(Level::WARN),
            Level::INFO => $event!(Level::INFO),
            Level::DEBUG => $event!(Level::DEBUG),
            Level::TRACE => $event!(Level::TRACE),
        }
    };
}

/// Whether the subscriber is interested in guest logs at `level`.
pub(crate) fn enabled(level: Level) -> bool {
    macro_rules! is_enabled {
        ($level:expr) => {
            tracing::enabled!(target: TARGET, $level)
        };
    }
    by_level!(level, is_enabled)
}

/// What one guest logs, over all of its instances: a flood of messages hurts all users of the log, however many
/// instances it comes from.
#[derive(Debug)]
pub(crate) struct Log {
    guest: Arc<str>,
    /// How many bytes of a message or line are logged; the rest is cut off.
    pub(crate) line_bytes: usize,
    rate: Rate,
    /// Messages dropped since the last report.
    suppressed: AtomicU64,
    /// A report is pending.
    reporting: AtomicBool,
    background: Background,
    /// Nothing is logged or counted.
    is_silent: bool,
}

impl Log {
    pub(crate) fn new(background: Background, guest: Arc<str>, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            guest,
            line_bytes: limits.log_line_bytes,
            rate: Rate::new(limits.log_rate),
            suppressed: AtomicU64::new(0),
            reporting: AtomicBool::new(false),
            background,
            is_silent: false,
        })
    }

    /// A log that drops everything without reporting it.
    pub(crate) fn silent(background: Background, guest: Arc<str>, limits: &Limits) -> Arc<Self> {
        let mut log = Self::new(background, guest, limits);
        if let Some(log) = Arc::get_mut(&mut log) {
            log.is_silent = true;
        }
        log
    }

    /// A message given to `log`.
    pub(crate) fn message(self: &Arc<Self>, level: Level, message: &[u8]) {
        macro_rules! emit {
            ($level:expr) => {
                tracing::event!(target: TARGET, $level, guest = &*self.guest, "{}", printable(message, self.line_bytes))
            };
        }
        // Messages that aren't logged don't count towards the rate.
        if enabled(level) && self.admits() {
            by_level!(level, emit);
        }
    }

    /// A line that a guest wrote to `stream`, "stdout" or "stderr".
    pub(crate) fn line(self: &Arc<Self>, level: Level, stream: &'static str, line: &[u8]) {
        macro_rules! emit {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET, $level, guest = &*self.guest, stream, "{}", printable(line, self.line_bytes)
                )
            };
        }
        if enabled(level) && self.admits() {
            by_level!(level, emit);
        }
    }

    /// Something that the guest did that had no effect.
    #[cold]
    pub(crate) fn no_effect(self: &Arc<Self>, what: &str) {
        if self.admits() {
            tracing::debug!(target: TARGET, guest = &*self.guest, "{what}");
        }
    }

    /// Whether another message may be logged now. If not, it is counted, and reported within a second.
    fn admits(self: &Arc<Self>) -> bool {
        if self.is_silent {
            return false;
        }
        if self.rate.admits() {
            return true;
        }
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        if !self.reporting.swap(true, Ordering::AcqRel) {
            let report = Report(self.clone());
            self.background.spawn(Box::pin(report.finish()));
        }
        false
    }

    fn report_suppressed(&self) {
        let suppressed = self.suppressed.swap(0, Ordering::Relaxed);
        if suppressed > 0 {
            let limit = self.rate.per_second();
            let messages = if suppressed == 1 { "message" } else { "messages" };
            tracing::warn!(
                target: TARGET,
                guest = &*self.guest,
                suppressed,
                "{suppressed} {messages} dropped: the guest's limit is {limit} per second"
            );
        }
    }
}

impl Drop for Log {
    /// Reports what is still unreported when the guest is dropped.
    fn drop(&mut self) {
        self.report_suppressed();
    }
}

/// A pending report. However it ends, the next dropped message starts another.
struct Report(Arc<Log>);

impl Report {
    async fn finish(self) {
        self.0.background.sleep(REPORT_AFTER).await;
        let log = self.0.clone();
        // First, so that a message that is dropped too late for this report starts the next.
        drop(self);
        log.report_suppressed();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.0.reporting.store(false, Ordering::Release);
    }
}

/// Runs `what` on this thread with `subscriber`.
#[cfg(test)]
pub(crate) fn with_subscriber(subscriber: impl Into<tracing::Dispatch>, what: impl FnOnce()) {
    // If there were only one subscriber, an event first emitted on a thread without any would be considered disabled
    // everywhere.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    tracing::dispatcher::with_default(&subscriber.into(), what);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

    use super::*;
    use crate::runtime::TokioRuntime;

    #[derive(Clone, Default)]
    struct Logged(Arc<AtomicU64>);

    impl<S: tracing::Subscriber> Layer<S> for Logged {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn enabled_messages_and_output_lines_share_one_rate_limit() {
        let limits = Limits { log_rate: 3, ..Limits::default() };
        let log = Log::new(Background::new(Box::new(TokioRuntime)), "g".into(), &limits);
        let logged = Logged::default();
        let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(logged.clone());
        let started = std::time::Instant::now();
        with_subscriber(subscriber, || {
            for _ in 0..1000 {
                log.message(Level::DEBUG, b"not wanted");
                log.message(Level::INFO, b"wanted");
                log.line(Level::INFO, "stdout", b"wanted");
            }
        });
        let logged = logged.0.load(Ordering::Relaxed);
        // After a third of a second, there is room for one more.
        let most = 3 + started.elapsed().as_secs() * 3 + 3;
        assert!((3..=most).contains(&logged), "{logged} of at most {most}");
    }
}
