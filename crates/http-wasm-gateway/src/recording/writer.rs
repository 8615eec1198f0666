//! The thread that writes recordings.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::directory::Directory;
use super::exchange::Finished;
use super::redact::Secrets;
use super::render::{har, timestamp};
use crate::config;
use crate::error::StartError;
use crate::error_text::{counted, plain};

/// Exchanges that wait to be written. Further ones are dropped.
const QUEUE: usize = 64;

/// How often the log says that recordings are lost.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Hands exchanges to the thread that writes them. The thread ends when this is dropped.
pub(super) struct Writer {
    queue: SyncSender<Job>,
    dropped: Arc<AtomicU64>,
}

enum Job {
    Write(Box<Finished>),
    Flush(oneshot::Sender<()>),
}

impl Writer {
    /// Opens the directory, and starts the thread. Without `secrets`, nothing is redacted.
    pub(super) fn start(settings: &config::Record, secrets: Option<Secrets>) -> Result<Self, StartError> {
        let (files, bytes) = (settings.max_files.get() as usize, settings.max_bytes.0);
        let directory = Directory::open(&settings.dir.value, files, bytes)
            .map_err(|reason| StartError::System(format!("record.dir: {reason}")))?;
        let (queue, jobs) = sync_channel(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        let losses = Losses { dropped: dropped.clone(), failed: 0, reported: 0, last: None };
        std::thread::Builder::new()
            .name("recordings".to_owned())
            .spawn(move || run(&jobs, directory, secrets, losses))
            .map_err(|error| StartError::System(format!("cannot start a thread: {}", plain(&error))))?;
        Ok(Self { queue, dropped })
    }

    /// Writes an exchange soon, or drops it if too many wait.
    pub(super) fn write(&self, finished: Finished) {
        match self.queue.try_send(Job::Write(Box::new(finished))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Completes when all that was queued before has been written.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let mut job = Job::Flush(done);
        loop {
            match self.queue.try_send(job) {
                Ok(()) => break,
                Err(TrySendError::Full(again)) => job = again,
                Err(TrySendError::Disconnected(_)) => return,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = written.await;
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

fn run(jobs: &Receiver<Job>, mut directory: Directory, secrets: Option<Secrets>, mut losses: Losses) {
    for job in jobs {
        match job {
            Job::Write(finished) => {
                if let Err(reason) = write(&mut directory, secrets.as_ref(), &finished) {
                    losses.failed += 1;
                    losses.report(Some(&reason));
                }
            }
            Job::Flush(done) => drop(done.send(())),
        }
        losses.report(None);
    }
}

fn write(directory: &mut Directory, secrets: Option<&Secrets>, finished: &Finished) -> Result<(), String> {
    let mut har = har(finished);
    if let Some(secrets) = secrets {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| error.to_string())?;
        secrets.redact(&mut har, finished, key);
    }
    let content = serde_json::to_vec(&har).map_err(|error| error.to_string())?;
    directory.write(&timestamp(finished.began), &content).map_err(|error| plain(&error))?;
    Ok(())
}

/// Recordings that were lost, and when the log last said so.
struct Losses {
    dropped: Arc<AtomicU64>,
    failed: u64,
    reported: u64,
    last: Option<Instant>,
}

impl Losses {
    fn report(&mut self, reason: Option<&str>) {
        let dropped = self.dropped.load(Ordering::Relaxed);
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
                "{lost} lost: exchanges end faster than they can be written; lower `record.sample`"
            ),
        }
    }
}
