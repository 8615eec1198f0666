//! The thread that writes recordings.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::finished::Finished;
use super::queue::{Queue, RateLimit};
use super::redact::Secrets;
use super::render::{har, timestamp};
use crate::config;
use crate::error::StartError;
use crate::error_text::{counted, plain};

/// The minimum time between warnings about lost recordings.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The thread's priority, lower than that of threads that serve requests.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Passes exchanges to the thread that writes them. The thread ends when this is dropped.
pub(super) struct Writer(Arc<Queue>);

impl Writer {
    /// Opens the directory, and starts the thread. Without `secrets`, nothing is redacted.
    pub(super) fn start(settings: &config::Record, secrets: Option<Secrets>) -> Result<Self, StartError> {
        let (files, bytes) = (settings.max_files.get() as usize, settings.max_bytes.0);
        let directory = Directory::open(&settings.dir.value, files, bytes)
            .map_err(|reason| StartError::System(format!("record.dir: {reason}")))?;
        let queue = Arc::<Queue>::default();
        let (jobs, rate) = (queue.clone(), RateLimit::new(settings.bytes_per_second.0));
        std::thread::Builder::new()
            .name("recordings".to_owned())
            .spawn(move || run(&jobs, rate, directory, secrets.as_ref()))
            .map_err(|error| StartError::System(format!("cannot start a thread: {}", plain(&error))))?;
        Ok(Self(queue))
    }

    /// Queues an exchange, or drops it if the queue is full.
    pub(super) fn write(&self, finished: Finished) {
        self.0.add(finished);
    }

    /// Waits until everything that was queued before has been written.
    pub(super) async fn flush(&self) {
        self.0.flush().await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("dropped", &self.0.dropped()).finish_non_exhaustive()
    }
}

fn run(queue: &Queue, mut rate: RateLimit, mut directory: Directory, secrets: Option<&Secrets>) {
    // On Linux, this only sets the priority of the calling thread. Failure is harmless.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICE);
    let mut losses = Losses { failed: 0, reported: 0, last: None };
    loop {
        let batch = queue.next(&rate);
        let mut rest = &*batch.exchanges;
        while !rest.is_empty() {
            let (file, others) = rest.split_at(count_for_file(rest));
            match write(&mut directory, secrets, file) {
                Ok(bytes) => {
                    rate.wrote(bytes);
                    losses.report(queue.dropped(), None);
                }
                Err(reason) => {
                    losses.failed += file.len() as u64;
                    losses.report(queue.dropped(), Some(&reason));
                }
            }
            rest = others;
            if !rest.is_empty() {
                queue.pause(&rate);
            }
        }
        let is_last = batch.is_last;
        batch.done();
        if is_last {
            return;
        }
    }
}

/// How much memory the logs in one file may take, unless it is that of a single exchange. Making the file takes several
/// times as much.
const FILE_LOGS: usize = 4 * 1024 * 1024;

/// How many of these exchanges are for the next file.
fn count_for_file(exchanges: &[Finished]) -> usize {
    let (mut ends, mut total) = (HashMap::new(), 0);
    let fits = |exchange: &&Finished| {
        for part in &exchange.parts {
            let known = ends.entry(Arc::as_ptr(&part.log)).or_insert(0);
            let more = part.end().at.saturating_sub(*known);
            (*known, total) = (*known + more, total + more);
        }
        total <= FILE_LOGS
    };
    exchanges.iter().take_while(fits).count().max(1)
}

/// Writes exchanges to a file. Returns its size.
fn write(
    directory: &mut Directory,
    secrets: Option<&Secrets>,
    exchanges: &[Finished],
) -> Result<u64, String> {
    let Some(first) = exchanges.first() else { return Ok(0) };
    let mut har = har(exchanges);
    if let Some(secrets) = secrets {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| error.to_string())?;
        secrets.redact(&mut har, exchanges, key);
    }
    let content = serde_json::to_vec(&har).map_err(|error| error.to_string())?;
    directory.write(&timestamp(first.began), &content).map_err(|error| plain(&error))?;
    Ok(content.len() as u64)
}

/// Counts lost recordings, and limits the warnings about them.
struct Losses {
    failed: u64,
    reported: u64,
    last: Option<Instant>,
}

impl Losses {
    fn report(&mut self, dropped: u64, reason: Option<&str>) {
        let total = dropped + self.failed;
        if total == self.reported || self.last.is_some_and(|last| last.elapsed() < WARN_EVERY) {
            return;
        }
        let new = usize::try_from(total - self.reported).unwrap_or(usize::MAX);
        (self.reported, self.last) = (total, Some(Instant::now()));
        let lost = counted(new, "recording");
        match reason {
            Some(reason) => tracing::warn!(dropped, failed = self.failed, "{lost} lost: {reason}"),
            None => tracing::warn!(
                dropped,
                failed = self.failed,
                "{lost} lost: exchanges end faster than they may be written; lower `record.sample`, or raise \
                 `record.bytes_per_second`"
            ),
        }
    }
}
