//! What a value is read from, and what reading carries along.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::redaction::{Replaced, redacted};
use crate::config::fault::Fault;
use crate::fingerprint::Fingerprints;

/// A value of the document, and its position.
pub(in crate::config) type Node<'i> = Spanned<DeValue<'i>>;

/// What can be read from a node.
pub(in crate::config) trait Value: Sized {
    /// Whether a table with references in it is shown as a whole or not at all.
    const IS_OPAQUE: bool = false;

    /// Whether it is a table with settings.
    const IS_SECTION: bool = false;

    /// The value; `None` if the node is something else, which is then among the errors.
    fn read(node: &Node<'_>, context: &mut Context) -> Option<Self>;
}

/// What reading and checking carry along.
#[derive(Debug)]
pub(in crate::config) struct Context {
    /// What relative paths are relative to.
    base: PathBuf,
    source: String,
    faults: Vec<Fault>,
    errors: usize,
    /// Strings in which references were replaced, in the order of the file.
    replaced: Vec<Replaced>,
    /// Strings with references that can't be replaced. There is an error about each, so that others would be noise.
    unresolved: Vec<Range<usize>>,
    /// The files that strings refer to, as they were before they were read.
    files: Fingerprints,
}

impl Context {
    pub(in crate::config) fn new(base: PathBuf, source: &str) -> Self {
        Self {
            base,
            source: source.to_owned(),
            faults: Vec::new(),
            errors: 0,
            replaced: Vec::new(),
            unresolved: Vec::new(),
            files: Fingerprints::default(),
        }
    }

    pub(in crate::config) fn fault(&mut self, fault: Fault) {
        self.errors += usize::from(!fault.is_warning());
        let at = fault.span();
        if !self.unresolved.iter().any(|string| string.start <= at.start && at.end <= string.end) {
            self.faults.push(fault.map_text(|text| redacted(text, &at, &self.replaced)));
        }
    }

    /// References in a string were replaced.
    pub(in crate::config) fn replaced(&mut self, string: Replaced) {
        self.replaced.push(string);
    }

    /// References in a string can't be replaced, which has been reported.
    pub(in crate::config) fn unresolved(&mut self, at: Range<usize>) {
        self.unresolved.push(at);
    }

    /// A string refers to this file.
    pub(in crate::config) fn refers_to(&mut self, path: &Path) {
        let files = std::mem::take(&mut self.files);
        self.files = files.and(Fingerprints::of([path.to_owned()]));
    }

    /// The name in the header of a table, such as `server.tls`. `None` for a table in braces.
    pub(in crate::config) fn header(&self, table: &Node<'_>) -> Option<&str> {
        let written = self.source.get(table.span())?.trim_matches(['[', ']']).trim();
        (!written.is_empty() && !written.contains(['{', '\n', '='])).then_some(written)
    }

    /// How a string is written, if references in it were replaced.
    pub(in crate::config) fn written(&self, node: &Node<'_>) -> Option<&Arc<str>> {
        let string = self.replaced.iter().find(|string| string.at == node.span())?;
        Some(&string.written)
    }

    /// Whether references were replaced anywhere in this node.
    pub(in crate::config) fn has_references(&self, node: &Node<'_>) -> bool {
        let all = node.span();
        self.replaced.iter().any(|string| all.start <= string.at.start && string.at.end <= all.end)
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

    /// The number of errors so far.
    pub(in crate::config) fn fault_count(&self) -> usize {
        self.errors
    }

    pub(in crate::config) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// The faults, the strings in which references were replaced, and the files that they refer to.
    pub(in crate::config) fn into_parts(self) -> (Vec<Fault>, Vec<Replaced>, Fingerprints) {
        (self.faults, self.replaced, self.files)
    }
}
