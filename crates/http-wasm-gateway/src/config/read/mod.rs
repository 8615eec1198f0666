//! From a TOML document to typed values, collecting all errors.
//!
//! serde stops at the first error and knows no position for it. Here each value reads itself from its node, reports
//! what it expected if it can't, and keeps its default so that reading continues.

mod combined;
mod context;
mod redaction;
mod scalar;
mod table;
mod units;

pub use self::combined::{Located, NonEmpty, OneOrMany};
pub use self::units::{AnyTime, Size, Time, TimeOrOff};

pub(super) use self::context::{Context, Node, Value};
pub(super) use self::redaction::{Hidden, Replaced, redacted};
pub(super) use self::scalar::{choice, parsed, text};
pub(super) use self::table::{Table, as_text, section, suggestion};
