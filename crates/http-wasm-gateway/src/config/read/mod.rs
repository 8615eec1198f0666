//! From a TOML document to typed values, collecting all faults on the way.
//!
//! serde stops at the first fault and knows no place in the file for it. Here each value reads itself from its node, says what
//! it expected when it can't, and leaves its default so that reading goes on.

mod combined;
mod scalar;
mod table;
mod units;

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::fault::Fault;

pub use self::combined::{Located, NonEmpty, OneOrMany};
pub use self::units::{AnyTime, Size, Time, TimeOrOff};

pub(super) use self::scalar::{choice, parsed, text};
pub(super) use self::table::{Table, section, suggestion};

/// A value of the document, and where it stands.
pub(super) type Node<'i> = Spanned<DeValue<'i>>;

/// What can be read from a node.
pub(super) trait Value: Sized {
    /// The value; `None` when the node is no such thing, which is then among the faults.
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self>;
}

/// What reading and checking carry along.
#[derive(Debug)]
pub(super) struct Context {
    /// What relative paths are relative to.
    base: PathBuf,
    faults: Vec<Fault>,
}

impl Context {
    pub(super) fn new(base: PathBuf) -> Self {
        Self { base, faults: Vec::new() }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// A path as written, made one that doesn't depend on the working directory.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        self.base.join(written)
    }

    /// Says that something else stands there than was expected.
    pub(super) fn expected(&mut self, what: &str, node: &Node<'_>) {
        self.fault(Fault::unexpected(what, node));
    }

    pub(super) fn at(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.fault(Fault::new(span, message));
    }

    fn fault_count(&self) -> usize {
        self.faults.len()
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}
