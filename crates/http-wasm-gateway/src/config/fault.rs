//! Errors in a configuration, and how they are displayed.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use toml::Spanned;
use toml::de::DeValue;

use crate::error_text::plain;

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The position, in bytes from the start of the file.
    at: Range<usize>,
    /// What was expected and what was found.
    message: String,
    /// What to do about it, if the message doesn't say so.
    help: Option<String>,
    /// Another place that is involved.
    related: Option<(Range<usize>, String)>,
}

impl Fault {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None, related: None }
    }

    /// The first syntax error, and the number of them. It may be the cause of the others.
    pub(super) fn syntax(first: &toml::de::Error, places: usize) -> Self {
        let fault = Self::new(first.span().unwrap_or_default(), format!("invalid TOML: {}", first.message()));
        match places {
            1 => fault,
            _ => fault.help("there are more syntax errors, perhaps caused by this one"),
        }
    }

    /// Something else was found than expected.
    pub(super) fn unexpected(what: &str, node: &Spanned<DeValue<'_>>) -> Self {
        let found = match node.get_ref() {
            DeValue::String(text) => format!("the string {text:?}"),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date or time".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        Self::new(node.span(), format!("expected {what}, found {found}"))
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn related(mut self, at: Range<usize>, label: impl Into<String>) -> Self {
        self.related = Some((at, label.into()));
        self
    }

    /// What was expected and what was found.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The position, in bytes from the start of the file.
    pub fn span(&self) -> Range<usize> {
        self.at.clone()
    }
}

/// All errors in one configuration file. Its text shows each one with line and column.
#[derive(Debug)]
pub struct Faults {
    path: PathBuf,
    source: String,
    /// In the order of the file. Empty if it couldn't be read.
    faults: Vec<Fault>,
    unreadable: Option<String>,
}

impl Faults {
    pub(super) fn new(path: &Path, source: String, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| fault.at.start);
        Self { path: path.to_owned(), source, faults, unreadable: None }
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::InvalidData => "not UTF-8 text".to_owned(),
            _ => plain(error),
        };
        Self { path: path.to_owned(), source: String::new(), faults: Vec::new(), unreadable: Some(reason) }
    }

    /// The errors, in the order of the file; none if the file couldn't be read.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fault> {
        self.faults.iter()
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display().to_string();
        if let Some(reason) = &self.unreadable {
            return write!(f, "configuration {path}: {reason}");
        }
        let count = self.faults.len();
        write!(f, "configuration {path}: {count} {}", if count == 1 { "error" } else { "errors" })?;
        let renderer = Renderer::plain();
        for fault in &self.faults {
            let shown = self.show(fault, &path);
            write!(f, "\n\n{}", renderer.render(&shown))?;
        }
        Ok(())
    }
}

impl Faults {
    fn show<'a>(&'a self, fault: &'a Fault, path: &'a str) -> Vec<Group<'a>> {
        let mut snippet = Snippet::source(&*self.source)
            .path(path)
            .annotation(AnnotationKind::Primary.span(self.one_line(&fault.at)));
        if let Some((at, label)) = &fault.related {
            let related = AnnotationKind::Context.span(self.one_line(at)).label(&**label);
            snippet = snippet.annotation(related);
        }
        let mut group = Level::ERROR.primary_title(&*fault.message).element(snippet);
        if let Some(help) = &fault.help {
            group = group.element(Level::HELP.message(&**help));
        }
        vec![group]
    }

    /// The part of a span on its first line: for a table, its start is enough.
    fn one_line(&self, at: &Range<usize>) -> Range<usize> {
        let start = at.start.min(self.source.len());
        let rest = &self.source[start..at.end.clamp(start, self.source.len())];
        start..start + rest.find('\n').unwrap_or(rest.len())
    }
}
