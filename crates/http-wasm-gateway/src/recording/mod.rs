//! Recording exchanges so that they can be replayed.
//!
//! What a guest does in an exchange depends on what its instance has lived through. So the instances that serve
//! recorded exchanges are followed from their creation on: each has a log, to which a tracer adds what its imports
//! returned. These are the instances of a guest's twin, which has a pool of its own, so that requests that aren't
//! recorded have no overhead.
//!
//! When an exchange ends, it is handed to one thread, which redacts it and writes it to a file, with others that have
//! ended meanwhile: a HAR file that also holds the logs of the instances, once each. An instance is replaced when
//! repeating its log in the next file takes longer than the start-up of another one.

mod directory;
mod encode;
mod event;
mod exchange;
mod file;
mod har;
mod log;
mod parts;
mod queue;
mod recorder;
mod redact;
mod render;
mod tracer;
mod words;
mod writer;

pub use self::event::{CallEvent, Data, Event, Failure, Outcome};
pub(crate) use self::exchange::ExchangeRecorder;
pub use self::file::{GuestRecord, Recorded};
pub use self::har::{Har, HarContent, HarEntry, HarLog, HarPair, HarRequest, HarResponse, HarSide};
pub(crate) use self::log::{GuestOrigin, GuestSecrets};
pub(crate) use self::recorder::Recorder;
pub(crate) use self::tracer::GuestTracer;
