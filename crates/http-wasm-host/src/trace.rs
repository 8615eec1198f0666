//! Tracing of guests, call by call.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::abi::{BodyKind, Features, Function, HeaderKind, Phase, ValueType};
use crate::error::Error;

/// Traces the instances of a guest, call by call, for tools that show or record what it does. A guest without a tracer
/// has no overhead; see [`GuestBuilder::trace`](crate::GuestBuilder::trace).
///
/// The events of one instance arrive in order, from its creation on, and never concurrently. Those of different
/// instances, which have different numbers, may arrive concurrently. The tracer is called while a request is processed,
/// so it must not block.
///
/// A closure is a tracer:
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use http_wasm_host::{Engine, Guest, InMemoryHost, TraceEvent};
///
/// let calls = Arc::new(Mutex::new(Vec::new()));
/// let seen = calls.clone();
/// let guest: Guest<InMemoryHost> = Guest::<InMemoryHost>::builder(&Engine::new()?)
///     .trace(move |_instance: u64, event: &TraceEvent<'_>| {
///         if let TraceEvent::HostCall(call) = event {
///             seen.lock().unwrap().push(call.to_string());
///         }
///     })
///     .load(br#"(module
///         (import "http_handler" "set_uri" (func $set_uri (param i32 i32)))
///         (memory (export "memory") 1) (data (i32.const 8) "/new")
///         (func (export "handle_request") (result i64)
///             (call $set_uri (i32.const 8) (i32.const 4))
///             (i64.const 1))
///         (func (export "handle_response") (param i32 i32)))"#)?;
///
/// let outcome = futures_executor::block_on(guest.handle_request(InMemoryHost::new("GET", "/")));
/// assert!(outcome.is_ok());
/// assert_eq!(*calls.lock().unwrap(), [r#"set_uri(uri: "/new")"#]);
/// # Ok::<(), http_wasm_host::LoadError>(())
/// ```
pub trait Tracer: Send + Sync + 'static {
    /// Called for each event of the instance with this number, which is unique within the guest.
    fn event(&self, instance: u64, event: &TraceEvent<'_>);

    /// Returns whether there are [`Ticked`](TraceEvent::Ticked) events. By default, there are none, since creating them
    /// takes time. Calls that run [without a fiber](crate::EngineBuilder::yields_always) have few.
    fn wants_ticks(&self) -> bool {
        false
    }

    /// Returns a tracer for the new instance with this number, which gets its events in place of this one. `None` by
    /// default. Use it to keep state for each instance without a look-up at each event.
    fn follow(&self, instance: u64) -> Option<Box<dyn InstanceTracer>> {
        let _ = instance;
        None
    }
}

/// Traces one instance of a guest. See [`Tracer::follow`].
pub trait InstanceTracer: Send + Sync + 'static {
    /// Called for each event of the instance.
    fn event(&self, event: &TraceEvent<'_>);

    /// Returns whether to drop the instance, which has just served a request, instead of reusing it. By default, it is
    /// reused. A recorder uses this to begin a new recording.
    fn is_done(&self) -> bool {
        false
    }
}

impl<F: Fn(u64, &TraceEvent<'_>) + Send + Sync + 'static> Tracer for F {
    fn event(&self, instance: u64, event: &TraceEvent<'_>) {
        self(instance, event);
    }
}

/// An event of an instance.
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceEvent<'a> {
    /// The instance is created; everything up to [`Started`](Self::Started) is its start-up.
    Created,
    /// The start-up has ended.
    Started {
        /// Why it failed, if it did.
        error: Option<&'a Error>,
    },
    /// One of the guest's two functions is called.
    Entered {
        /// Which of the two.
        phase: Phase,
        /// The host's [`trace_id`](crate::LocalHost::trace_id).
        trace_id: u64,
        /// The argument of `handle_response` that the guest returned from `handle_request`. 0 for `handle_request`.
        req_ctx: u32,
        /// The argument of `handle_response` that says whether the next handler returned no response.
        is_error: bool,
    },
    /// The guest has called a function of the ABI.
    HostCall(TracedCall<'a>),
    /// The guest has called a function of WASI.
    WasiCall(TracedWasiCall<'a>),
    /// The functions on the guest's stack, innermost first, at a tick of the engine's clock, which ticks every 2 ms
    /// while the guest computes. The guest notices a tick when it next enters a function or begins another iteration of
    /// a loop.
    Ticked {
        /// Their names, or numbers if the module has no names.
        stack: Vec<String>,
    },
    /// A memory or a table of the guest is created, or grows if this is granted.
    Growth(TracedGrowth),
    /// The last granted growth of a memory or table has failed, because the system is out of memory.
    GrowthFailed,
    /// The last entered function has returned or failed.
    Returned {
        /// Which of the two.
        phase: Phase,
        /// Whether the request is passed on to the next handler.
        proceeds: bool,
        /// The guest's own value for `handle_response`.
        req_ctx: u32,
        /// Why it failed, if it did.
        error: Option<&'a Error>,
        /// The duration, including waits.
        took: Duration,
    },
    /// The instance is dropped.
    Dropped,
}

/// A guest's call of a function of WASI, and its result.
#[derive(Debug)]
#[non_exhaustive]
pub struct TracedWasiCall<'a> {
    /// Its name in `wasi_snapshot_preview1`.
    pub function: &'static str,
    /// Its arguments as the guest passed them.
    pub args: &'a [u64],
    /// The error number that it returned; 0 if it succeeded.
    pub result: CallResult,
    /// The bytes that the guest passed: data to write, or a path. Two paths are separated by a NUL.
    pub passed: Vec<u8>,
    /// The bytes that the call wrote to the guest's memory, and where.
    pub written: Vec<(u32, &'a [u8])>,
}

/// A growth of a memory or a table, including its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TracedGrowth {
    /// Whether it is a table.
    pub is_table: bool,
    /// The current size, in bytes or elements.
    pub from: u64,
    /// The size that the guest requests.
    pub to: u64,
    /// Whether the request is granted.
    pub granted: bool,
}

/// A guest's call of a function of the ABI, and its result. Displays as the call with its decoded arguments.
#[non_exhaustive]
pub struct TracedCall<'a> {
    /// The function.
    pub function: &'static Function,
    /// Its arguments as the guest passed them.
    pub args: &'a [u32],
    /// The guest's function that calls it; `None` while the instance is created.
    pub phase: Option<Phase>,
    /// The features that are enabled after the call.
    pub features: Features,
    /// The result of the function.
    pub result: CallResult,
    /// The time that the host took.
    pub took: Duration,
    /// The guest's memory after the call.
    pub(crate) memory: &'a [u8],
    /// The argument `name` as it was before the call, which may have overwritten it.
    pub(crate) name: Option<&'a [u8]>,
    /// Whether the header to remove existed.
    pub(crate) found: bool,
    /// Finds the note.
    pub(crate) explain: fn(&TracedCall<'_>) -> Option<Cow<'static, str>>,
}

/// The result of a function of the ABI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// A value; 0 for a function without a result.
    Returned(u64),
    /// The guest has to wait. The same call is traced again once there is a result.
    Waits,
    /// The call trapped for this reason.
    Trapped(String),
}

/// An argument of a function of the ABI, decoded from the guest's numbers by [`TracedCall::arguments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Argument<'a> {
    /// A header kind.
    HeaderKind(HeaderKind),
    /// A body kind.
    BodyKind(BodyKind),
    /// A header or body kind that the ABI doesn't define.
    UnknownKind(u32),
    /// Features; the second part has the bits that the ABI doesn't define.
    Features(Features, u32),
    /// A log level, from -1 (debug) to 3 (none), or one that the ABI doesn't define.
    Level(i32),
    /// A status code.
    Status(u32),
    /// Bytes that the guest passes.
    Bytes(&'a [u8]),
    /// Bytes that the guest passes, except that they aren't in its memory.
    OutOfBounds {
        /// Their address.
        offset: u32,
        /// Their number.
        len: u32,
    },
    /// Room for a result.
    Buffer {
        /// Its address.
        offset: u32,
        /// Its size in bytes: `buf_limit`.
        limit: u32,
    },
}

impl<'a> TracedCall<'a> {
    /// Returns the decoded arguments with their names in the ABI. A pointer and its length are one argument.
    pub fn arguments(&self) -> impl Iterator<Item = (&'static str, Argument<'a>)> + '_ {
        let names = self.function.param_names;
        names.iter().enumerate().filter_map(move |(at, name)| {
            let (value, next) = (self.args.get(at).copied()?, self.args.get(at + 1).copied().unwrap_or(0));
            let argument = match *name {
                "kind" if self.is_of_body() => match BodyKind::from_abi(value) {
                    Some(kind) => Argument::BodyKind(kind),
                    None => Argument::UnknownKind(value),
                },
                "kind" => match HeaderKind::from_abi(value) {
                    Some(kind) => Argument::HeaderKind(kind),
                    None => Argument::UnknownKind(value),
                },
                "features" => {
                    let known = Features::from_bits(value);
                    Argument::Features(known, value & !known.bits())
                }
                "level" => Argument::Level(value.cast_signed()),
                "status" => Argument::Status(value),
                "buf" => Argument::Buffer { offset: value, limit: next },
                "name" if self.name.is_some() => Argument::Bytes(self.name.unwrap_or_default()),
                length if length.ends_with("_len") || length.ends_with("_limit") => return None,
                _ => self.bytes(value, next),
            };
            Some((*name, argument))
        })
    }

    /// Returns the bytes that the call wrote to the guest's memory: a result that fits into its buffer.
    pub fn written(&self) -> &'a [u8] {
        let CallResult::Returned(result) = self.result else { return &[] };
        let Some(Argument::Buffer { offset, limit }) = self.argument("buf") else { return &[] };
        // Packed results have the length in the lower half.
        let len = result as u32;
        match self.bytes(offset, len) {
            Argument::Bytes(bytes) if len <= limit => bytes,
            _ => &[],
        }
    }

    /// Returns why the call had less effect than the guest's author may expect, if so.
    pub fn note(&self) -> Option<Cow<'static, str>> {
        (self.explain)(self)
    }

    /// Returns the argument with this name in the ABI, such as `uri` of `set_uri`. [`arguments`](Self::arguments)
    /// returns all names.
    pub fn argument(&self, name: &str) -> Option<Argument<'a>> {
        self.arguments().find(|(its, _)| *its == name).map(|(_, argument)| argument)
    }

    fn is_of_body(&self) -> bool {
        self.function.name.ends_with("_body")
    }

    fn bytes(&self, offset: u32, len: u32) -> Argument<'a> {
        let start = offset as usize;
        match start.checked_add(len as usize).and_then(|end| self.memory.get(start..end)) {
            Some(bytes) => Argument::Bytes(bytes),
            None if len == 0 => Argument::Bytes(&[]),
            None => Argument::OutOfBounds { offset, len },
        }
    }
}

impl fmt::Debug for TracedCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TracedCall")
            .field("call", &format_args!("{self}"))
            .field("phase", &self.phase)
            .field("result", &self.result)
            .field("note", &self.note())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TracedCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.name)?;
        for (at, (name, argument)) in self.arguments().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{name}: {argument}")?;
        }
        f.write_str(")")?;
        match &self.result {
            CallResult::Returned(_) if self.function.results.is_empty() => Ok(()),
            CallResult::Returned(value) if self.function.results == [ValueType::I64] => {
                write!(f, " = {}, {}", value >> 32, value & u64::from(u32::MAX))
            }
            CallResult::Returned(value) => write!(f, " = {value}"),
            CallResult::Waits => f.write_str(" waits"),
            CallResult::Trapped(reason) => write!(f, " trapped: {reason}"),
        }
    }
}

impl fmt::Display for Argument<'_> {
    /// Kinds, features and levels by their names, bytes in quotes with escapes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::HeaderKind(kind) => f.write_str(kind.name()),
            Self::BodyKind(kind) => f.write_str(kind.name()),
            Self::UnknownKind(kind) => write!(f, "{kind} (unknown)"),
            Self::Features(features, unknown) => {
                let mut separator = "";
                for name in features.names() {
                    write!(f, "{separator}{name}")?;
                    separator = " | ";
                }
                match unknown {
                    0 if separator.is_empty() => f.write_str("none"),
                    0 => Ok(()),
                    _ => write!(f, "{separator}{unknown} (unknown)"),
                }
            }
            Self::Level(level) => f.write_str(match level {
                -1 => "debug",
                0 => "info",
                1 => "warn",
                2 => "error",
                3 => "none",
                _ => return write!(f, "{level} (unknown)"),
            }),
            Self::Status(status) => write!(f, "{status}"),
            Self::Bytes(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::OutOfBounds { offset, len } => write!(f, "{len} bytes at {offset}, out of bounds"),
            Self::Buffer { limit, .. } => write!(f, "{limit} bytes"),
        }
    }
}
