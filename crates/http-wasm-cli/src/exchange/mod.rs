//! Exchanges in process: a request for a guest, a next handler, and a record of everything that happens.

mod args;
mod entry;
mod har;
mod next;
mod notes;
mod recorder;
mod request;
mod result;
mod runner;
mod seen;
mod text;

pub(crate) use self::args::ExchangeArgs;
pub(crate) use self::entry::{Answer, CallEntry, Entry, EntryKind, Value};
pub(crate) use self::next::Next;
pub(crate) use self::notes::add as add_notes;
pub(crate) use self::recorder::Recorder;
pub(crate) use self::request::{SampleRequest, SampleResponse, field};
pub(crate) use self::result::ExchangeResult;
pub(crate) use self::runner::{CLIENT, Runner};
pub(crate) use self::seen::{Content, SeenRequest, SeenResponse};
pub(crate) use self::text::{Paint, print_failure, print_request, print_response, print_trace};
