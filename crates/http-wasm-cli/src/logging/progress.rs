//! A progress line at the bottom of a terminal, which shows the guests that are being loaded if that takes a while.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use http_wasm_gateway::LOADING_TARGET;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The target of the core's events about guests that take a long time to load.
const TARGET: &str = "http_wasm_host::load::slow";

/// Whether lines with this target are shown as progress.
pub(super) fn is_progress(target: &str) -> bool {
    target == TARGET || target == LOADING_TARGET
}

/// How often the line is drawn again.
const PERIOD: Duration = Duration::from_millis(250);

/// How many guests are named, and the maximum length of the line, so that it fits a terminal.
const NAMED: usize = 3;
const WIDTH: usize = 78;

/// Returns to the start of the line and clears it.
const CLEAR: &[u8] = b"\r\x1b[K";

/// Shows the events of [`TARGET`] and [`LOADING_TARGET`] as a line that is updated, and writes the lines of the log
/// above it.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<ProgressState>>);

struct ProgressState {
    out: Box<dyn Write + Send>,
    /// Guests that are being loaded, and when that started.
    loading: Vec<(String, Instant)>,
    /// How many guests are loaded, and how many there are.
    share: Option<(u64, u64)>,
    is_drawn: bool,
}

impl Progress {
    pub(super) fn new(out: impl Write + Send + 'static) -> Self {
        let (out, loading) = (Box::new(out), Vec::new());
        Self(Arc::new(Mutex::new(ProgressState { out, loading, share: None, is_drawn: false })))
    }

    fn screen(&self) -> MutexGuard<'_, ProgressState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn began(&self, guest: String, since: Instant) {
        let is_first = {
            let mut screen = self.screen();
            let is_known = screen.loading.iter().any(|(name, _)| *name == guest);
            if !is_known {
                screen.loading.push((guest, since));
            }
            screen.draw(Instant::now());
            !is_known && screen.loading.len() == 1
        };
        if is_first {
            let progress = self.clone();
            // Without a thread the line isn't updated.
            let _ = thread::Builder::new().name("progress".into()).spawn(move || {
                thread::sleep(PERIOD);
                while progress.screen().draw(Instant::now()) {
                    thread::sleep(PERIOD);
                }
            });
        }
    }

    fn ended(&self, guest: &str, how: &str) {
        let mut screen = self.screen();
        let Some(place) = screen.loading.iter().position(|(name, _)| name == guest) else { return };
        let (guest, _) = screen.loading.remove(place);
        let line = format!("{}: {}\n", shown(&guest), shown(how));
        // If the terminal is gone, there is nowhere to report that.
        let _ = screen.line(line.as_bytes());
        screen.draw(Instant::now());
    }
}

impl Progress {
    fn loaded(&self, loaded: u64, total: u64) {
        let mut screen = self.screen();
        screen.share = (loaded < total).then_some((loaded, total));
        screen.draw(Instant::now());
    }
}

impl ProgressState {
    /// Draws the line, if any guest is being loaded.
    fn draw(&mut self, now: Instant) -> bool {
        let Some((_, since)) = self.loading.first() else { return false };
        let names = self.loading.iter().take(NAMED).map(|(name, _)| shown(name));
        let mut text = format!("loading {}", names.collect::<Vec<_>>().join(", "));
        if let Some(more @ 1..) = self.loading.len().checked_sub(NAMED) {
            text += &format!(" and {more} more");
        }
        let seconds = now.saturating_duration_since(*since).as_secs();
        let share = self.share.map(|(loaded, total)| format!(" ({loaded} of {total} loaded)"));
        let end = format!("{} … {seconds} s", share.unwrap_or_default());
        let text: String = text.chars().take(WIDTH.saturating_sub(end.chars().count())).collect();
        let _ = self.out.write_all(&[CLEAR, text.as_bytes(), end.as_bytes()].concat());
        let _ = self.out.flush();
        self.is_drawn = true;
        true
    }

    /// Writes a line of the log in place of the drawn one.
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if std::mem::take(&mut self.is_drawn) {
            self.out.write_all(CLEAR)?;
        }
        self.out.write_all(line)
    }
}

/// A name without characters that would move the cursor.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).collect()
}

impl Write for Progress {
    /// Called with whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.screen().line(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.screen().out.flush()
    }
}

impl<S: Subscriber> Layer<S> for Progress {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !is_progress(event.metadata().target()) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        match fields {
            Fields { share: (Some(loaded), Some(total)), .. } => self.loaded(loaded, total),
            Fields { guest, message, done: true, .. } => self.ended(&guest, &message),
            Fields { guest, seconds, .. } => {
                let now = Instant::now();
                let since = now.checked_sub(Duration::from_secs(seconds)).unwrap_or(now);
                self.began(guest, since);
            }
        }
    }
}

#[derive(Default)]
struct Fields {
    guest: String,
    seconds: u64,
    done: bool,
    message: String,
    share: (Option<u64>, Option<u64>),
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "guest" {
            self.guest = value.to_owned();
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "seconds" => self.seconds = value,
            "loaded" => self.share.0 = Some(value),
            "total" => self.share.1 = Some(value),
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.done |= field.name() == "done" && value;
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Terminal(Arc<Mutex<Vec<u8>>>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_progress_line_of_a_slow_guest_is_redrawn_around_log_lines_until_it_is_loaded() {
        let terminal = Terminal::default();
        let mut progress = Progress::new(terminal.clone());
        let subscriber = tracing_subscriber::registry().with(progress.clone());
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: TARGET, guest = "a\x1bb", seconds = 7_u64, "taking long");
            progress.write_all(b"a log line\n").unwrap();
            tracing::info!(target: "other", guest = "c", seconds = 1_u64, "not about loading");
            tracing::info!(target: LOADING_TARGET, loaded = 1_u64, total = 3_u64, "loading");
            tracing::info!(target: TARGET, guest = "a\x1bb", done = true, "loaded in 7.5 s");
        });
        progress.write_all(b"another\n").unwrap();
        let written = String::from_utf8(terminal.0.lock().unwrap().clone()).unwrap();
        assert!(written.starts_with("\r\x1b[Kloading ab … 7 s"), "{written:?}");
        // The line may have been drawn again in between.
        assert!(written.contains("\r\x1b[Ka log line\n"), "{written:?}");
        assert!(written.contains("loading ab (1 of 3 loaded) … 7 s"), "{written:?}");
        assert!(written.ends_with("\r\x1b[Kab: loaded in 7.5 s\nanother\n"), "{written:?}");
    }

    #[test]
    fn many_guests_fit_one_line() {
        let terminal = Terminal::default();
        let progress = Progress::new(terminal.clone());
        let now = Instant::now();
        for n in 0..5 {
            progress.screen().loading.push((format!("guest-{n}-{}", "x".repeat(n * 20)), now));
        }
        assert!(progress.screen().draw(now));
        let written = String::from_utf8(terminal.0.lock().unwrap().clone()).unwrap();
        assert!(
            written.contains("loading guest-0-, guest-1-xxx") && written.ends_with(" … 0 s"),
            "{written:?}"
        );
        assert!(written.chars().count() <= WIDTH + 4, "{written:?}");
        progress.screen().loading.clear();
        assert!(!progress.screen().draw(now));
    }
}
