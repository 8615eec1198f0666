//! Mounted directories: wasmtime-wasi's file system, with the guest's output sent to the log.
//!
//! File operations run on the guest's [`FileThreads`]. The guest's task awaits a plain future, which any executor can
//! poll.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::config::Mount;
use super::lines::{LineSink, Lines, Stream};
use super::preview1::Preview1;
use crate::engine::FileThreads;
use crate::log::Log;

/// An instance's open files.
pub(super) struct Files {
    ctx: Preview1,
    stdout: Output,
    stderr: Output,
}

impl Files {
    /// Opens the directories again, so that instances don't share positions or descriptors. May block.
    pub(super) fn open(mounts: &[Mount], threads: Arc<FileThreads>) -> Result<Self, String> {
        let mut builder = WasiCtxBuilder::new();
        for mount in mounts {
            let perms = if mount.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            builder
                .preopened_dir(&mount.host, &mount.guest, perms)
                .map_err(|error| mount.wrong(format_args!("{error:#}")))?;
        }
        Ok(Self::new(builder, threads))
    }

    pub(super) fn none() -> Self {
        Self::new(WasiCtxBuilder::new(), Arc::new(FileThreads::none()))
    }

    fn new(mut builder: WasiCtxBuilder, threads: Arc<FileThreads>) -> Self {
        let (stdout, stderr) = (Output::new(Stream::Stdout), Output::new(Stream::Stderr));
        builder.stdout(stdout.clone()).stderr(stderr.clone());
        Self { ctx: Preview1 { ctx: builder.build_p1(), threads }, stdout, stderr }
    }

    /// The context for wasmtime-wasi's functions.
    pub(super) fn ctx(&mut self, log: &Arc<Log>) -> &mut Preview1 {
        self.stdout.connect(log);
        self.stderr.connect(log);
        &mut self.ctx
    }

    /// Discards the output of the previous call.
    pub(super) fn begin(&self) {
        self.stderr.with_lines(|lines, _| lines.begin());
    }

    /// The output on stderr during this call.
    pub(super) fn excerpt(&self) -> Option<String> {
        let mut excerpt = None;
        self.stderr.with_lines(|lines, _| excerpt = lines.excerpt());
        excerpt
    }

    pub(super) fn flush(&self) {
        self.stdout.with_lines(Lines::flush);
        self.stderr.with_lines(Lines::flush);
    }
}

/// An output stream that the instance shares with wasmtime-wasi's table of descriptors.
#[derive(Clone)]
struct Output(Arc<SharedOutput>);

struct SharedOutput {
    stream: Stream,
    /// The log, which is set before the guest's first call.
    log: OnceLock<Arc<Log>>,
    /// Never contended: only one task uses an instance at a time.
    lines: Mutex<Lines>,
}

impl Output {
    fn new(stream: Stream) -> Self {
        Self(Arc::new(SharedOutput { stream, log: OnceLock::new(), lines: Mutex::default() }))
    }

    fn connect(&self, log: &Arc<Log>) {
        self.0.log.get_or_init(|| log.clone());
    }

    fn with_lines(&self, f: impl FnOnce(&mut Lines, LineSink<'_>)) {
        if let Some(log) = self.0.log.get() {
            let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
            f(&mut lines, LineSink { log, stream: self.0.stream });
        }
    }
}

impl IsTerminal for Output {
    /// The same as without files; see `stdio`.
    fn is_terminal(&self) -> bool {
        true
    }
}

impl StdoutStream for Output {
    /// Only used by preview 3, which guests can't import here.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.with_lines(|lines, speaker| lines.write(&bytes, speaker));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // A guest flushes after each write, but only a line break completes a line.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(4096)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}
