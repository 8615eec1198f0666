//! Writes lines to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error_text::plain;

/// The most lines waiting to be written. Further lines are dropped and counted, since requests must not wait for a
/// disk.
const WAITING: usize = 8192;

/// How many bytes of lines are written at once. The same amount is kept while writing fails.
const BUFFER: usize = 64 * 1024;

/// How often lost lines are logged.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The number of lost lines, for all access logs of the process.
static LOST: AtomicU64 = AtomicU64::new(0);

/// The number of access log lines that were lost since the process started.
pub(super) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Passes lines to the thread that writes them. When this is dropped, the thread writes all lines and ends.
pub(super) struct Writer {
    to: SyncSender<Message>,
    overflow: Arc<AtomicU64>,
}

enum Message {
    Line(Vec<u8>),
    Reopen,
    Flush(oneshot::Sender<()>),
}

impl Writer {
    /// Appends to this file, or writes to stdout.
    pub(super) fn start(file: Option<PathBuf>) -> io::Result<Self> {
        let target = match file {
            Some(path) => Target::File(append(&path)?, path),
            None => Target::Stdout,
        };
        let (to, messages) = sync_channel(WAITING);
        let overflow = Arc::new(AtomicU64::new(0));
        let thread = Thread {
            messages,
            lines: Lines::new(target),
            overflow: overflow.clone(),
            losses: DroppedLines::default(),
        };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(|| thread.run())?;
        Ok(Self { to, overflow })
    }

    pub(super) fn write(&self, line: Vec<u8>) {
        match self.to.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                LOST.fetch_add(1, Ordering::Relaxed);
                self.overflow.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn reopen(&self) {
        if self.to.try_send(Message::Reopen).is_err() {
            tracing::warn!("the access log is too busy to be reopened; send the signal again");
        }
    }

    /// Completes when all lines so far have been written, or too many are waiting.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.to.try_send(Message::Flush(done)).is_ok() {
            let _ = written.await;
        }
    }
}

struct Thread {
    messages: Receiver<Message>,
    lines: Lines<Target>,
    /// The number of lines that were dropped because the queue was full.
    overflow: Arc<AtomicU64>,
    losses: DroppedLines,
}

impl Thread {
    fn run(mut self) {
        while let Ok(message) = self.next() {
            match message {
                Message::Line(mut line) => {
                    line.push(b'\n');
                    if let Err(error) = self.lines.push(&line) {
                        self.losses.failed(1, &error);
                    }
                }
                Message::Reopen => {
                    if let Err(error) = self.lines.to.reopen() {
                        tracing::error!(
                            "cannot reopen the access log: {}; still writing to the old one",
                            plain(&error)
                        );
                    }
                    self.flush();
                }
                Message::Flush(done) => {
                    self.flush();
                    // The receiver may have stopped waiting.
                    let _ = done.send(());
                }
            }
        }
        if let Err(error) = self.lines.flush() {
            self.losses.failed(self.lines.count(), &error);
        }
    }

    /// Returns the next message. Before it waits for one, it flushes everything to the file if possible.
    fn next(&mut self) -> Result<Message, RecvError> {
        match self.messages.try_recv() {
            Ok(message) => Ok(message),
            Err(TryRecvError::Disconnected) => Err(RecvError),
            Err(TryRecvError::Empty) => {
                self.flush();
                self.losses.overflowed(&self.overflow);
                self.messages.recv()
            }
        }
    }

    fn flush(&mut self) {
        match self.lines.flush() {
            Ok(()) => self.losses.written(),
            // Nothing is lost yet.
            Err(error) => self.losses.failed(0, &error),
        }
    }
}

/// Reports lost lines, at a limited rate.
#[derive(Default)]
struct DroppedLines {
    /// Lines lost because of write errors, since the last successful write.
    lost: u64,
    /// When write errors were last reported, and whether they persist.
    failed: Option<Instant>,
    failing: bool,
    overflowed: Option<Instant>,
}

impl DroppedLines {
    fn failed(&mut self, lost: u64, error: &io::Error) {
        self.lost += lost;
        LOST.fetch_add(lost, Ordering::Relaxed);
        if is_due(&mut self.failed) {
            self.failing = true;
            let reason = plain(error);
            tracing::error!(
                lost_lines = self.lost,
                "cannot write the access log: {reason}; lines that don't fit into memory are lost"
            );
        }
    }

    fn written(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::warn!(lost_lines = self.lost, "the access log is writable again; lines were lost");
            self.lost = 0;
        }
    }

    fn overflowed(&mut self, lines: &AtomicU64) {
        if lines.load(Ordering::Relaxed) > 0 && is_due(&mut self.overflowed) {
            let lost = lines.swap(0, Ordering::Relaxed);
            tracing::warn!(
                lost_lines = lost,
                "access log lines were lost: they arrived faster than they could be written"
            );
        }
    }
}

/// Whether another report is due.
fn is_due(last_report: &mut Option<Instant>) -> bool {
    let due = last_report.is_none_or(|last_report| last_report.elapsed() >= REPORT_INTERVAL);
    if due {
        *last_report = Some(Instant::now());
    }
    due
}

/// Lines that are written in batches. If writing fails, as many as fit are kept.
struct Lines<W> {
    to: W,
    buffer: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn new(to: W) -> Self {
        Self { to, buffer: Vec::with_capacity(BUFFER) }
    }

    /// Adds a line, unless there is no room and none can be made.
    fn push(&mut self, line: &[u8]) -> io::Result<()> {
        let fits = |buffer: &[u8]| buffer.len() + line.len() <= BUFFER;
        if !fits(&self.buffer)
            && let Err(error) = self.flush()
            && !fits(&self.buffer)
        {
            return Err(error);
        }
        self.buffer.extend_from_slice(line);
        Ok(())
    }

    /// Writes all lines. If that fails, the rest is kept.
    fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        let result = loop {
            let rest = &self.buffer[written..];
            if rest.is_empty() {
                break self.to.flush();
            }
            match self.to.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.buffer.drain(..written);
        self.buffer.shrink_to(BUFFER);
        result
    }

    fn count(&self) -> u64 {
        memchr::memchr_iter(b'\n', &self.buffer).count() as u64
    }
}

enum Target {
    File(File, PathBuf),
    Stdout,
}

impl Target {
    /// If the new file can't be opened, the old one stays in use.
    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File(file, path) = self {
            *file = append(path)?;
        }
        Ok(())
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file, _) => file.write(bytes),
            Self::Stdout => io::stdout().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file, _) => file.flush(),
            Self::Stdout => io::stdout().flush(),
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::{BUFFER, Lines, Target, Writer, append, lost};

    /// A disk with this much room left.
    struct Disk {
        room: usize,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room);
            if fits == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= fits;
            self.written.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn on_a_full_disk_whole_lines_are_buffered_up_to_the_limit() {
        let mut lines = Lines::new(Disk { room: 150, written: Vec::new() });
        let line = |number: usize| format!("{number:099}\n").into_bytes();
        let pushed: Vec<usize> = (0..1000).filter(|&number| lines.push(&line(number)).is_ok()).collect();
        assert!(lines.flush().is_err());
        // The disk took one line and a half.
        assert_eq!(pushed.len(), (BUFFER + 150) / 100, "all that fits is kept");
        lines.to.room = usize::MAX;
        lines.push(&line(2000)).unwrap();
        lines.flush().unwrap();
        let expected: Vec<u8> = pushed.into_iter().chain([2000]).flat_map(line).collect();
        assert!(lines.to.written == expected, "all lines in their order, none torn");
        assert_eq!(lines.count(), 0);
    }

    #[test]
    fn a_line_larger_than_the_buffer_is_written_and_its_memory_released() {
        let mut lines = Lines::new(Disk { room: usize::MAX, written: Vec::new() });
        lines.push(&vec![b'x'; 3 * BUFFER]).unwrap();
        lines.push(b"y\n").unwrap();
        lines.flush().unwrap();
        assert_eq!(lines.to.written.len(), 3 * BUFFER + 2);
        assert!(lines.buffer.capacity() <= BUFFER);
    }

    #[test]
    fn a_moved_log_is_reopened_even_if_the_old_file_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut lines = Lines::new(Target::File(append("/dev/full".as_ref()).unwrap(), path.clone()));
        lines.push(b"a line\n").unwrap();
        assert!(lines.flush().is_err());
        lines.to.reopen().unwrap();
        lines.flush().unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "a line\n");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn lines_lost_to_a_full_disk_are_counted() {
        let before = lost();
        let writer = Writer::start(Some("/dev/full".into())).unwrap();
        for _ in 0..100 {
            writer.write(vec![b'x'; BUFFER / 10]);
            writer.flush().await;
        }
        // Ten of them fit into memory.
        assert!(lost() - before >= 90, "{}", lost() - before);
    }
}
