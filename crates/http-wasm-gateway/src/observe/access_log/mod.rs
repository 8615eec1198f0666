//! The access log: one line per request, written by a separate thread so that a slow disk doesn't delay requests.

mod line;
mod writer;

use std::fmt;
use std::sync::Arc;

use self::line::{combined, json};
use self::writer::Writer;
use crate::config::{self, AccessLogFormat};
use crate::error::StartError;
use crate::error_text::plain;
use crate::exchange::{FinishedRequest, RequestObserver};

/// Writes a line for each completed request.
pub(crate) struct AccessLog {
    format: AccessLogFormat,
    writer: Writer,
}

impl AccessLog {
    /// Opens the log.
    pub(crate) fn open(config: &config::AccessLog) -> Result<Arc<Self>, StartError> {
        let file = config.file.as_ref().map(|file| file.value.clone());
        let shown = file.clone();
        let writer = Writer::start(file).map_err(|error| {
            let shown = shown.unwrap_or_default();
            StartError::System(format!("cannot open the access log {}: {}", shown.display(), plain(&error)))
        })?;
        Ok(Arc::new(Self { format: config.format, writer }))
    }

    /// Reopens the file under the same name, after the old one has been moved away.
    pub(crate) fn reopen(&self) {
        self.writer.reopen();
    }

    /// Completes when all lines so far have been written.
    pub(crate) async fn flush(&self) {
        self.writer.flush().await;
    }
}

/// The number of access log lines that were lost since the process started.
pub(crate) fn lost_lines() -> u64 {
    writer::lost()
}

impl RequestObserver for AccessLog {
    fn finished(&self, request: &FinishedRequest<'_>) {
        self.writer.write(match self.format {
            AccessLogFormat::Json => json(request),
            AccessLogFormat::Combined => combined(request),
        });
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("format", &self.format).finish_non_exhaustive()
    }
}
