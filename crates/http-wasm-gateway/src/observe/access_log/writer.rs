//! Lines on their way to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, TrySendError, sync_channel};

use tokio::sync::oneshot;

use crate::error::plain;

/// Lines that may wait to be written. Further ones are lost, which is counted: requests must not wait for a disk.
const WAITING: usize = 8192;

/// Hands lines to the thread that writes them. The thread ends, all lines written, when this is dropped.
pub(super) struct Writer {
    to: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(Vec<u8>),
    Reopen,
    Flush(oneshot::Sender<()>),
}

impl Writer {
    /// Appends to this file, or writes to stdout.
    pub(super) fn start(file: Option<PathBuf>) -> io::Result<Self> {
        let (to, messages) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let target = Target::open(file)?;
        let thread = Thread { messages, target, lost: lost.clone(), failing: false };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(|| thread.run())?;
        Ok(Self { to, lost })
    }

    pub(super) fn write(&self, line: Vec<u8>) {
        match self.to.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn reopen(&self) {
        if self.to.try_send(Message::Reopen).is_err() {
            tracing::warn!("the access log is too busy to be opened again; send the signal once more");
        }
    }

    /// Ends when all lines until now are written, or there are too many to wait for.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.to.try_send(Message::Flush(done)).is_ok() {
            let _ = written.await;
        }
    }
}

struct Thread {
    messages: Receiver<Message>,
    target: Target,
    lost: Arc<AtomicU64>,
    /// A failure was reported, and nothing was written since.
    failing: bool,
}

impl Thread {
    fn run(mut self) {
        while let Ok(message) = self.next() {
            let result = match message {
                Message::Line(mut line) => {
                    line.push(b'\n');
                    self.target.write(&line)
                }
                Message::Reopen => self.target.reopen(),
                Message::Flush(done) => {
                    let result = self.target.flush();
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                    result
                }
            };
            self.note(result);
        }
        let result = self.target.flush();
        self.note(result);
    }

    /// The next message; all that was written is in the file before the thread waits for one.
    fn next(&mut self) -> Result<Message, RecvError> {
        match self.messages.try_recv() {
            Ok(message) => Ok(message),
            Err(TryRecvError::Disconnected) => Err(RecvError),
            Err(TryRecvError::Empty) => {
                let result = self.target.flush();
                self.note(result);
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::warn!(
                        lost,
                        "lines of the access log were lost: they came faster than they could be written"
                    );
                }
                self.messages.recv()
            }
        }
    }

    /// Reports the first of failures in a row.
    fn note(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !self.failing {
                    tracing::error!("cannot write the access log: {}", plain(&error));
                }
                self.failing = true;
            }
        }
    }
}

enum Target {
    File(PathBuf, BufWriter<File>),
    Stdout(BufWriter<io::Stdout>),
}

impl Target {
    fn open(file: Option<PathBuf>) -> io::Result<Self> {
        match file {
            Some(path) => append(&path).map(|file| Self::File(path, file)),
            None => Ok(Self::Stdout(BufWriter::new(io::stdout()))),
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::File(_, file) => file.write_all(line),
            Self::Stdout(out) => out.write_all(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(_, file) => file.flush(),
            Self::Stdout(out) => out.flush(),
        }
    }

    /// When the new file can't be opened, the old one goes on.
    fn reopen(&mut self) -> io::Result<()> {
        self.flush()?;
        if let Self::File(path, file) = self {
            *file = append(path)?;
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<BufWriter<File>> {
    Ok(BufWriter::with_capacity(64 * 1024, OpenOptions::new().create(true).append(true).open(path)?))
}
