//! What can go wrong: at load ([`LoadError`]), and while a guest serves ([`Error`]).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tracing::Level;

use crate::abi::{BodyKind, Phase};
use crate::fault::Fault;
use crate::symbols::{Backtrace, Symbols};
use crate::warning::Warning;

/// An error of the embedding program or its HTTP implementation.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a guest could not be loaded. The message names the guest, what was wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read guest {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes aren't a guest for this ABI.
    #[error("guest {guest} is not valid:{}", list(faults))]
    Invalid {
        /// The guest's name.
        guest: Arc<str>,
        /// All that was found wrong.
        faults: Vec<Fault>,
    },
    /// The module is malformed in a way that shows only when it is compiled.
    #[error("guest {guest} does not compile: {reason}")]
    Compile {
        /// The guest's name.
        guest: Arc<str>,
        /// What the compiler said.
        reason: String,
    },
    /// A directory, argument or environment variable that was granted can't be.
    #[error("guest {guest}: {reason}")]
    Grant {
        /// The guest's name.
        guest: Arc<str>,
        /// Which grant, and what is wrong with it.
        reason: String,
    },
    /// The guest can't be snapshotted; see [`Snapshot`](crate::Snapshot).
    #[error("guest {guest} can't be snapshotted: {reason}; load it without a snapshot")]
    Snapshot {
        /// The guest's name.
        guest: Arc<str>,
        /// What it has or did that can't be in a snapshot.
        reason: String,
        /// The guest's call stack when it did so, innermost first; `None` when the module itself is the reason.
        backtrace: Option<String>,
    },
    /// The file holds precompiled code that isn't to be run.
    #[error("guest {guest} is precompiled: {reason}")]
    Precompiled {
        /// The guest's name.
        guest: Arc<str>,
        /// Why it isn't, and what to do.
        reason: &'static str,
    },
    /// The configuration is longer than [`Limits::config_bytes`](crate::Limits).
    #[error(
        "guest {guest}: its configuration has {size} bytes, but the limit is {limit} bytes; shorten it, or \
         raise `config_bytes`"
    )]
    ConfigTooLarge {
        /// The guest's name.
        guest: Arc<str>,
        /// Size of the configuration, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The guest is built in a way that lets it do nothing, or there are warnings about it and it is loaded
    /// [strictly](crate::GuestBuilder::strict).
    #[error("guest {guest} is refused:{}", refusals(warnings))]
    Refused {
        /// The guest's name.
        guest: Arc<str>,
        /// Why.
        warnings: Vec<Warning>,
    },
    /// The first instance could not be made.
    #[error("failed to start: {}", with_calls(.0))]
    Start(Error),
    /// The engine could not be set up on this machine.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
}

impl LoadError {
    /// The first instance could not be made. The error gets source lines: nothing waits for a guest that is loaded.
    pub(crate) fn start(mut error: Error) -> Self {
        error.locate();
        Self::Start(error)
    }
}

/// The error, and the guest's calls on the stack.
fn with_calls(error: &Error) -> String {
    error.backtrace().unwrap_or_default().lines().fold(error.to_string(), |text, line| text + "\n" + line)
}

fn refusals(warnings: &[Warning]) -> String {
    let line = |warning: &Warning| {
        let Warning { lint, .. } = warning;
        format!(
            "\n  - {warning} (`{lint}`: `allow = [\"{lint}\"]` or `--allow {lint}` loads it all the same)"
        )
    };
    warnings.iter().map(line).collect()
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  - {fault}")).collect()
}

/// Why a guest failed while it was started or served a request. Meant for the log, never for a client.
pub struct Error(Box<Details>);

/// In a box, so that results that hold an error are small.
struct Details {
    kind: ErrorKind,
    guest: Arc<str>,
    phase: Option<Phase>,
    function: Option<&'static str>,
    message: String,
    backtrace: Option<Backtrace>,
    stderr: Option<String>,
    retry_after: Option<Duration>,
    /// The memory that all guests share has run out.
    starved: bool,
}

/// When what was short may be there again: as soon as a request ends.
const SOON: Duration = Duration::from_secs(1);

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The guest's own code trapped: unreachable, division by zero, stack overflow, memory out of bounds, …
    Trap,
    /// The guest called a host function in a way that the ABI forbids.
    HostCall,
    /// The guest called `proc_exit`.
    Exit,
    /// The guest computed, or waited, for longer than its limit.
    Deadline,
    /// The guest made the host hold more than a limit allows.
    Limit,
    /// A message's body was too long to keep for replay.
    BodyTooLarge(BodyKind),
    /// A message's body ended in an error while the guest read it.
    Body(BodyKind),
    /// There was no instance for the request, and no memory for one, or for what it needed; later there may be.
    Unavailable,
    /// The bodies that are held for all requests together take too much memory (see
    /// [`EngineBuilder::body_memory_budget`]); later there may be room.
    ///
    /// [`EngineBuilder::body_memory_budget`]: crate::EngineBuilder::body_memory_budget
    BodyMemory,
    /// A fault of the host.
    Internal,
}

/// How an HTTP server responds to a failure, and at which level it logs it.
///
/// There is one table of these, [`ErrorKind::response`], so that all adapters handle a new kind of failure alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureResponse {
    /// The status if the guest belongs to the service. The error's text isn't meant for clients.
    pub status: StatusCode,
    /// The same for a gateway, whose callers distinguish "too slow" (504) from "broken" (500).
    pub gateway_status: StatusCode,
    /// The value of `Retry-After`, in seconds, for failures that may pass by themselves: 1 to 3600.
    pub retry_after: Option<u64>,
    /// The level that the error is logged at. Below ERROR, it is not the guest's fault, and may happen all the time.
    pub log_level: Level,
}

const fn response(status: StatusCode, log_level: Level) -> FailureResponse {
    FailureResponse { status, gateway_status: status, retry_after: None, log_level }
}

impl ErrorKind {
    /// How an HTTP server responds to a failure of this kind. [`Error::response`] knows how long this one may last.
    ///
    /// | kind | status | logged at |
    /// | --- | --- | --- |
    /// | [`BodyTooLarge`](Self::BodyTooLarge) | 413 for a request, 502 for a response | INFO |
    /// | [`Body`](Self::Body) | 400 for a request, 502 for a response | DEBUG |
    /// | [`BodyMemory`](Self::BodyMemory) | 503 with `Retry-After` | DEBUG |
    /// | [`Unavailable`](Self::Unavailable) | 503 with `Retry-After` | ERROR, or DEBUG if memory has run out |
    /// | [`Deadline`](Self::Deadline) | 500, from a gateway 504 | ERROR |
    /// | all others | 500 | ERROR |
    pub const fn response(self) -> FailureResponse {
        // Written without a `_`, so that a new kind has to be thought of here.
        match self {
            Self::Trap | Self::HostCall | Self::Exit | Self::Limit | Self::Internal => {
                response(StatusCode::INTERNAL_SERVER_ERROR, Level::ERROR)
            }
            Self::Deadline => FailureResponse {
                gateway_status: StatusCode::GATEWAY_TIMEOUT,
                ..response(StatusCode::INTERNAL_SERVER_ERROR, Level::ERROR)
            },
            Self::Unavailable => FailureResponse {
                retry_after: Some(SOON.as_secs()),
                ..response(StatusCode::SERVICE_UNAVAILABLE, Level::ERROR)
            },
            // The budget's own warning says how many there are.
            Self::BodyMemory => FailureResponse {
                retry_after: Some(SOON.as_secs()),
                ..response(StatusCode::SERVICE_UNAVAILABLE, Level::DEBUG)
            },
            // Peers send oversized bodies and hang up all the time.
            Self::BodyTooLarge(BodyKind::Request) => response(StatusCode::PAYLOAD_TOO_LARGE, Level::INFO),
            Self::BodyTooLarge(BodyKind::Response) => response(StatusCode::BAD_GATEWAY, Level::INFO),
            Self::Body(BodyKind::Request) => response(StatusCode::BAD_REQUEST, Level::DEBUG),
            Self::Body(BodyKind::Response) => response(StatusCode::BAD_GATEWAY, Level::DEBUG),
        }
    }

    /// All that [`name`](Self::name) gives.
    pub const NAMES: [&str; 10] = [
        "trap",
        "host_call",
        "exit",
        "deadline",
        "limit",
        "body_too_large",
        "body",
        "unavailable",
        "body_memory",
        "internal",
    ];

    /// A word for metrics and logs, as in "host_call".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::HostCall => "host_call",
            Self::Exit => "exit",
            Self::Deadline => "deadline",
            Self::Limit => "limit",
            Self::BodyTooLarge(_) => "body_too_large",
            Self::Body(_) => "body",
            Self::Unavailable => "unavailable",
            Self::BodyMemory => "body_memory",
            Self::Internal => "internal",
        }
    }

    /// Whether it is a failure of the guest, which is excused for a guest that fails open. A body that is too long or
    /// ends prematurely must be reported to its sender.
    pub(crate) fn is_guests(self) -> bool {
        !matches!(self, Self::BodyTooLarge(_) | Self::Body(_))
    }

    fn retry_after(self) -> Option<Duration> {
        self.response().retry_after.map(Duration::from_secs)
    }
}

impl Error {
    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The guest's name.
    pub fn guest(&self) -> &str {
        &self.0.guest
    }

    /// The phase it happened in; `None` while an instance was made.
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// The host function that the guest was calling, by its ABI name.
    pub fn function(&self) -> Option<&'static str> {
        self.0.function
    }

    /// The guest's call stack, innermost first: for each call, its offset in the guest's file (for WebAssembly text, in
    /// the module made of it) and the function's name, if the module has names.
    ///
    /// It has source lines as well if the module carries debug information and these calls have been looked up before:
    /// by [`locate`](Self::locate), or after [`log`](Self::log). See [`Backtraces`](crate::Backtraces).
    pub fn backtrace(&self) -> Option<&str> {
        self.0.backtrace.as_ref().map(Backtrace::text)
    }

    /// Adds source lines to the [`backtrace`](Self::backtrace), if the module carries debug information.
    ///
    /// Reading that takes up to a second for a large module: call it from where blocking is allowed.
    pub fn locate(&mut self) {
        if let Some(backtrace) = &mut self.0.backtrace {
            backtrace.locate();
        }
    }

    pub(crate) fn calls(&self) -> Option<&Backtrace> {
        self.0.backtrace.as_ref()
    }

    /// What the guest wrote to stderr during the call that failed: the first lines and the last.
    pub fn stderr(&self) -> Option<&str> {
        self.0.stderr.as_deref()
    }

    /// When it may be worth trying again; for [`ErrorKind::Unavailable`] and [`ErrorKind::BodyMemory`].
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// How an HTTP server responds to this failure: [`ErrorKind::response`], with the time after which a retry may
    /// help.
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

    /// The same failure, caused by the memory that all guests share running out.
    pub(crate) fn starved(mut self, budget: usize) -> Self {
        self.0.kind = ErrorKind::Unavailable;
        self.0.retry_after = Some(SOON);
        self.0.starved = true;
        self.0.message += &format!(" (the memory budget of {budget} bytes for all guests is used up)");
        self
    }

    /// The same failure, with what may have led to it.
    pub(crate) fn with_hint(mut self, hint: impl fmt::Display) -> Self {
        self.0.message += &format!(" ({hint})");
        self
    }

    /// The same failure, with what the guest wrote to stderr meanwhile.
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
            backtrace: None,
            stderr: None,
            retry_after: None,
            starved: false,
        }))
    }

    /// A refusal that no host function was there to make.
    pub(crate) fn refused(guest: Arc<str>, phase: Phase, reason: &Reason) -> Self {
        let mut error = Self::new(reason.kind(), guest, Some(phase), reason.to_string());
        error.0.retry_after = error.0.kind.retry_after();
        error
    }

    /// Sorts out what wasmtime hands back from a call into the guest.
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
        write!(f, ": {}", self.0.message)?;
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

/// A host function's refusal, on its way through wasmtime to [`Error::from_wasmtime`].
#[derive(Debug, thiserror::Error)]
#[error("{function}: {reason}")]
pub(crate) struct CallError {
    pub(crate) function: &'static str,
    pub(crate) reason: Reason,
}

/// The guest's time is up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("exceeded its compute limit of {0:?} and was stopped")]
    Computed(Duration),
    #[error("exceeded its time limit of {0:?}, including waiting, and was stopped")]
    Took(Duration),
}

/// Why a [`Host`](crate::Host) can't take a value, in words that follow the value's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub &'static str);

/// Why a host function refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    #[error("{argument} is out of bounds: {len} bytes at offset {offset} of a memory of {memory} bytes")]
    OutOfBounds { argument: &'static str, offset: u32, len: u32, memory: usize },
    #[error("the module exports no memory")]
    NoMemory,
    #[error(
        "no request yet: only enable_features, get_config, log and log_enabled work while an instance starts"
    )]
    NoRequest,
    #[error("{argument} is empty")]
    Empty { argument: &'static str },
    #[error("{argument} is not a valid {what}: {value}")]
    Illegal { argument: &'static str, what: &'static str, value: String },
    #[error("unknown {argument} {value}")]
    UnknownKind { argument: &'static str, value: u32 },
    #[error("buf_limit is 0: there is no room to read into")]
    NoRoom,
    #[error("status {0} is outside 100..=999")]
    Status(u32),
    #[error("{0}")]
    WrongPhase(&'static str),
    #[error("the value is longer than the 4 GiB that a guest can address")]
    TooLongForGuest,
    #[error("the value {}", .0.0)]
    Refused(Refused),
    #[error("{what} would exceed the limit of {limit}")]
    Limit { what: &'static str, limit: usize },
    #[error("the {} body exceeds the limit of {limit} bytes that are kept for replay", kind.name())]
    BodyTooLarge { kind: BodyKind, limit: usize },
    #[error("reading the {} body failed: {source}", kind.name())]
    Body { kind: BodyKind, source: BoxError },
    #[error("the memory budget for the bodies of all requests is used up")]
    BodyMemory,
    #[error("exit code {0}")]
    Exit(u32),
    #[error("{0}")]
    Internal(&'static str),
}

impl Reason {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfBounds { .. }
            | Self::NoMemory
            | Self::NoRequest
            | Self::Empty { .. }
            | Self::Illegal { .. }
            | Self::UnknownKind { .. }
            | Self::NoRoom
            | Self::Status(_)
            | Self::WrongPhase(_)
            | Self::Refused(_)
            | Self::TooLongForGuest => ErrorKind::HostCall,
            Self::Limit { .. } => ErrorKind::Limit,
            Self::BodyTooLarge { kind, .. } => ErrorKind::BodyTooLarge(*kind),
            Self::Body { kind, .. } => ErrorKind::Body(*kind),
            Self::BodyMemory => ErrorKind::BodyMemory,
            Self::Exit(_) => ErrorKind::Exit,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    pub(crate) fn refused(refused: Refused) -> Self {
        Self::Refused(refused)
    }

    /// A [`Reason::Illegal`] that shows `value` printably and in bounded length.
    pub(crate) fn illegal(argument: &'static str, what: &'static str, value: &[u8]) -> Self {
        const SHOWN: usize = 64;
        let shown = value[..value.len().min(SHOWN)].escape_ascii();
        let more = if value.len() > SHOWN { "…" } else { "" };
        Self::Illegal { argument, what, value: format!("\"{shown}\"{more}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_in_the_list() {
        use ErrorKind::*;
        let kinds = [
            Trap,
            HostCall,
            Exit,
            Deadline,
            Limit,
            BodyTooLarge(BodyKind::Request),
            Body(BodyKind::Request),
            Unavailable,
            BodyMemory,
            Internal,
        ];
        assert_eq!(kinds.map(ErrorKind::name), ErrorKind::NAMES);
    }

    #[test]
    fn only_what_may_pass_by_itself_says_when_to_try_again() {
        for kind in [ErrorKind::Unavailable, ErrorKind::BodyMemory] {
            assert_eq!((kind.response().status.as_u16(), kind.response().retry_after), (503, Some(1)));
        }
        let slow = ErrorKind::Deadline.response();
        assert_eq!((slow.status.as_u16(), slow.gateway_status.as_u16()), (500, 504));
        assert_eq!(slow.retry_after, None);
        for (wait, seconds) in [(0, 1), (1001, 2), (7_200_000, 3600)] {
            let error = Error::unavailable("g".into(), String::new(), Duration::from_millis(wait));
            assert_eq!(error.response().retry_after, Some(seconds));
        }
    }
}
