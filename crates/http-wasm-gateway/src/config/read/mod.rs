//! From a TOML document to typed values, collecting all faults on the way.
//!
//! serde stops at the first fault and knows no place in the file for it. Here each value reads itself from its node,
//! says what it expected when it can't, and leaves its default so that reading goes on.

mod combined;
mod context;
mod scalar;
mod table;
mod units;

pub use self::combined::{Located, NonEmpty, OneOrMany};
pub use self::units::{AnyTime, Size, Time, TimeOrOff};

pub(super) use self::context::{Context, Node, Value};
pub(super) use self::scalar::{choice, parsed, text};
pub(super) use self::table::{Table, as_text, section, suggestion};
