//! What a value is read from, and what reading carries along.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use crate::config::fault::Fault;

/// A value of the document, and where it stands.
pub(in crate::config) type Node<'i> = Spanned<DeValue<'i>>;

/// What can be read from a node.
pub(in crate::config) trait Value: Sized {
    /// The value; `None` if the node is something else, which is then among the errors.
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self>;
}

/// What reading and checking carry along.
#[derive(Debug)]
pub(in crate::config) struct Context {
    /// What relative paths are relative to.
    base: PathBuf,
    faults: Vec<Fault>,
}

impl Context {
    pub(in crate::config) fn new(base: PathBuf) -> Self {
        Self { base, faults: Vec::new() }
    }

    pub(in crate::config) fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// A path as written, made one that doesn't depend on the working directory.
    pub(in crate::config) fn path(&self, written: &str) -> PathBuf {
        self.base.join(written)
    }

    /// Reports that something other than expected was found.
    pub(in crate::config) fn expected(&mut self, what: &str, node: &Node<'_>) {
        self.fault(Fault::unexpected(what, node));
    }

    pub(in crate::config) fn at(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.fault(Fault::new(span, message));
    }

    pub(in crate::config) fn fault_count(&self) -> usize {
        self.faults.len()
    }

    pub(in crate::config) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}
