//! Why a guest failed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::kind::{ErrorKind, FailureResponse, RETRY_AFTER};
use super::reason::{CallError, Reason, Stop};
use crate::abi::Phase;
use crate::symbols::{Backtrace, Symbols};

/// A guest's failure during start-up or while it served a request. It is meant for the log, never for a client.
pub struct Error(Box<Details>);

/// Boxed, so that results that contain an error are small.
struct Details {
    kind: ErrorKind,
    guest: Arc<str>,
    phase: Option<Phase>,
    function: Option<&'static str>,
    message: String,
    /// What may have led to it, as the message continues.
    hints: String,
    backtrace: Option<Backtrace>,
    stderr: Option<String>,
    retry_after: Option<Duration>,
    /// The memory that all guests share has run out.
    starved: bool,
}

impl Error {
    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the guest's name.
    pub fn guest(&self) -> &str {
        &self.0.guest
    }

    /// Returns the phase in which the guest failed; `None` if an instance was being created.
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// Returns the ABI's name of the host function that the guest was calling, if it was calling one.
    pub fn function(&self) -> Option<&'static str> {
        self.0.function
    }

    /// Returns why the guest failed, without what may have led to it.
    pub fn reason(&self) -> &str {
        &self.0.message
    }

    /// Returns the guest's call stack, innermost call first: for each call, the offset in the guest's file (for
    /// WebAssembly text, in the module made from it), and the function's name if the module has names.
    ///
    /// It includes source lines if the module contains debug information and these calls have been looked up before: by
    /// [`locate`](Self::locate), or after [`log`](Self::log). See [`Backtraces`](crate::Backtraces).
    pub fn backtrace(&self) -> Option<&str> {
        self.0.backtrace.as_ref().map(Backtrace::text)
    }

    /// Adds source lines to the [`backtrace`](Self::backtrace), if the module contains debug information.
    ///
    /// This can take up to a second for a large module: call it where blocking is allowed.
    pub fn locate(&mut self) {
        if let Some(backtrace) = &mut self.0.backtrace {
            backtrace.locate();
        }
    }

    pub(crate) fn calls(&self) -> Option<&Backtrace> {
        self.0.backtrace.as_ref()
    }

    /// Returns what the guest wrote to stderr during the call that failed: the first and the last lines.
    pub fn stderr(&self) -> Option<&str> {
        self.0.stderr.as_deref()
    }

    /// Returns the time after which a retry may succeed, for [`ErrorKind::Unavailable`] and [`ErrorKind::BodyMemory`];
    /// `None` for other kinds.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns how an HTTP server responds to this failure: [`ErrorKind::response`], with the time after which a retry
    /// may succeed.
    pub fn response(&self) -> FailureResponse {
        let mut response = self.kind().response();
        if let Some(wait) = self.retry_after() {
            // Whole seconds, at least one.
            response.retry_after = Some(wait.as_millis().div_ceil(1000).clamp(1, 3600) as u64);
        }
        if self.0.starved {
            // The budget's own warning says how many there are.
            response.log_level = Level::DEBUG;
        }
        response
    }

    pub(crate) fn unavailable(guest: Arc<str>, message: String, retry_after: Duration) -> Self {
        let mut error = Self::new(ErrorKind::Unavailable, guest, None, message);
        error.0.retry_after = Some(retry_after);
        error
    }

    /// The same failure, caused by something running out that all guests share.
    pub(crate) fn starved(mut self, shortage: &str) -> Self {
        self.0.kind = ErrorKind::Unavailable;
        self.0.retry_after = Some(RETRY_AFTER);
        self.0.starved = true;
        self.0.hints += &format!(" ({shortage})");
        self
    }

    /// The same failure, with what may have led to it.
    pub(crate) fn with_hint(mut self, hint: impl fmt::Display) -> Self {
        self.0.hints += &format!(" ({hint})");
        self
    }

    /// The same failure, with what the guest wrote to stderr during the call.
    pub(crate) fn with_stderr(mut self, lines: String) -> Self {
        self.0.stderr = Some(lines);
        self
    }

    pub(crate) fn new(kind: ErrorKind, guest: Arc<str>, phase: Option<Phase>, message: String) -> Self {
        Self(Box::new(Details {
            kind,
            guest,
            phase,
            function: None,
            message,
            hints: String::new(),
            backtrace: None,
            stderr: None,
            retry_after: None,
            starved: false,
        }))
    }

    /// A refusal that doesn't come from a host function.
    pub(crate) fn refused(guest: Arc<str>, phase: Phase, reason: &Reason) -> Self {
        let mut error = Self::new(reason.kind(), guest, Some(phase), reason.to_string());
        error.0.retry_after = error.0.kind.retry_after();
        error
    }

    /// Converts the error that wasmtime returns from a call into the guest.
    pub(crate) fn from_wasmtime(
        guest: Arc<str>,
        symbols: &Arc<Symbols>,
        phase: Option<Phase>,
        error: &wasmtime::Error,
    ) -> Self {
        let backtrace = Backtrace::of(error, symbols);
        let (kind, function, message) = if let Some(call) = error.downcast_ref::<CallError>() {
            (call.reason.kind(), Some(call.function), call.reason.to_string())
        } else if let Some(stop) = error.downcast_ref::<Stop>() {
            (ErrorKind::Deadline, None, stop.to_string())
        } else if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
            (ErrorKind::Trap, None, trap.to_string())
        } else if phase.is_none() {
            (ErrorKind::Unavailable, None, format!("{error:#}"))
        } else {
            (ErrorKind::Internal, None, format!("{error:#}"))
        };
        let retry_after = kind.retry_after();
        Self(Box::new(Details {
            kind,
            guest,
            phase,
            function,
            message,
            hints: String::new(),
            backtrace,
            stderr: None,
            retry_after,
            starved: false,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guest {}", self.0.guest)?;
        if let Some(phase) = self.0.phase {
            write!(f, " in {phase}")?;
        }
        if let Some(function) = self.0.function {
            write!(f, ", calling {function}")?;
        }
        write!(f, ": {}{}", self.0.message, self.0.hints)?;
        match &self.0.stderr {
            Some(lines) => write!(f, "; its stderr: {}", lines.replace('\n', " | ")),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("guest", &self.0.guest)
            .field("phase", &self.0.phase)
            .field("function", &self.0.function)
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_in_whole_seconds_of_at_most_an_hour() {
        for (wait, seconds) in [(0, 1), (1001, 2), (7_200_000, 3600)] {
            let error = Error::unavailable("g".into(), String::new(), Duration::from_millis(wait));
            assert_eq!(error.response().retry_after, Some(seconds));
        }
    }
}
