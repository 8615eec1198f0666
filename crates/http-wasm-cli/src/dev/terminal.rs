//! Exchanges in the terminal: one line each, followed by what the guest did.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::exchange::Exchange;
use crate::exchange::{Paint, print_failure, print_trace};
use crate::failure::{Failure, plain};
use crate::logging::escaped;

/// How many lines of an exchange's trace are shown. The page shows all.
const MAX_LINES: usize = 24;

/// How many exchanges may wait to be shown. Further ones are only counted, since a terminal is slow.
const MAX_WAITING: usize = 32;

/// Shows exchanges on stdout, from a separate thread.
pub(super) struct Printer {
    waiting: SyncSender<Arc<Exchange>>,
    left_out: Arc<AtomicU64>,
}

impl Printer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system refuses to.
    pub(super) fn start() -> Result<Self, Failure> {
        let (waiting, exchanges) = sync_channel::<Arc<Exchange>>(MAX_WAITING);
        let left_out = Arc::new(AtomicU64::new(0));
        let count = left_out.clone();
        let paint = Paint::of(&io::stdout());
        let run = move || {
            for exchange in exchanges {
                if exchange.is_forgotten() {
                    count.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let mut text = shown(&exchange, paint);
                let left_out = count.swap(0, Ordering::Relaxed);
                if left_out > 0 {
                    text += &format!("… {left_out} more, too fast to show here\n");
                }
                let mut stdout = io::stdout().lock();
                // If the terminal is gone, there is nowhere to report that.
                let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
            }
        };
        let thread = thread::Builder::new().name("dev-terminal".into()).spawn(run);
        thread.map_err(|error| Failure::Other(format!("cannot start a thread: {}", plain(&error))))?;
        Ok(Self { waiting, left_out })
    }

    /// Shows an exchange, unless too many are waiting.
    pub(super) fn print(&self, exchange: &Arc<Exchange>) {
        if self.waiting.try_send(exchange.clone()).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn shown(exchange: &Exchange, paint: Paint) -> String {
    let (summary, view) = (exchange.summary(), exchange.view());
    let method = summary.method.as_ref().map_or("?", |method| method.as_str());
    let target = summary.target.as_deref().unwrap_or("?");
    let status = summary.status.map_or_else(|| "no response".to_owned(), |status| status.to_string());
    let took = summary.took.map_or_else(String::new, |took| format!(" in {}", duration(took)));
    let by = match (summary.has_failed, summary.was_passed_on, summary.next_status) {
        (true, ..) => ", the guest failed".to_owned(),
        (_, false, _) => ", from the guest".to_owned(),
        (_, true, Some(next)) if Some(next) != summary.status => {
            format!(", the next handler responded with {next}")
        }
        _ => String::new(),
    };
    let of = exchange.replay_of.map_or_else(String::new, |of| format!(" (#{of} again)"));
    let colour = if summary.has_failed { paint.bad } else { paint.title };
    let mut text = format!(
        "{}#{}{of} {method} {} → {status}{by}{took}{}\n",
        colour.render(),
        exchange.id,
        escaped(target),
        colour.render_reset()
    );
    let mut trace = String::new();
    print_trace(&mut trace, &view.entries, paint);
    if let Some(error) = &view.error {
        print_failure(&mut trace, error, paint);
    }
    let count = trace.lines().count();
    for line in trace.lines().take(MAX_LINES) {
        text += &format!("  {line}\n");
    }
    if count > MAX_LINES {
        text += &format!("  … {} more lines; the page shows all\n", count - MAX_LINES);
    }
    text
}

/// A time in a readable unit.
pub(super) fn duration(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds @ 1.0.. => format!("{seconds:.1} s"),
        seconds => format!("{:.1} ms", seconds * 1e3),
    }
}
