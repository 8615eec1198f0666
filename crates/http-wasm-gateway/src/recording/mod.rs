//! Recording exchanges so that they can be replayed.
//!
//! What a guest does in an exchange depends on everything that its instance has done before. So the instances that
//! serve recorded exchanges are traced from their creation on: each has a log, to which a tracer adds the results of
//! its imports. These instances belong to a copy of the guest with its own pool, so that requests that aren't recorded
//! have no overhead.
//!
//! When an exchange ends, it is passed to a thread, which redacts it and writes it to a file together with others that
//! have ended in the meantime: a HAR file that also contains the log of each instance. An instance is replaced when
//! repeating its log in the next file takes longer than starting another one.

mod directory;
mod encode;
mod event;
mod exchange;
mod file;
mod finished;
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

pub use self::directory::is_recording;
pub use self::event::{CallEvent, Data, Event, Failure, Outcome};
pub(crate) use self::exchange::ExchangeRecorder;
pub use self::file::{GuestRecord, Recorded};
pub use self::har::{Har, HarContent, HarEntry, HarLog, HarPair, HarRequest, HarResponse, HarSide};
pub(crate) use self::log::{GuestOrigin, GuestSecrets};
pub(crate) use self::recorder::Recorder;
pub(crate) use self::tracer::GuestTracer;
