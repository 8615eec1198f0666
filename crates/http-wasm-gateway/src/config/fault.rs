//! Errors in a configuration, and how they are displayed.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use toml::Spanned;
use toml::de::DeValue;

use crate::error_text::{counted, plain};

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    kind: Kind,
    /// The position, in bytes from the start of the file.
    at: Range<usize>,
    /// What was expected and what was found.
    message: String,
    /// What to do about it, unless the message says so.
    help: Option<String>,
    /// Another position that is involved.
    related: Option<(Range<usize>, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Error,
    /// An error in a guest's module that the configuration refers to.
    Guest,
    Warning,
}

impl Fault {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { kind: Kind::Error, at, message: message.into(), help: None, related: None }
    }

    /// Something that is valid, but probably unintended.
    pub(super) fn warning(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { kind: Kind::Warning, ..Self::new(at, message) }
    }

    /// The reason why a guest can't be loaded.
    pub(super) fn guest(at: Range<usize>, reason: impl Into<String>) -> Self {
        Self { kind: Kind::Guest, ..Self::new(at, reason) }
    }

    /// The first syntax error, which may be the cause of the others, and how many there are.
    pub(super) fn syntax(first: &toml::de::Error, places: usize) -> Self {
        let fault = Self::new(first.span().unwrap_or_default(), format!("invalid TOML: {}", first.message()));
        let message = first.message();
        let is_about = |words: &[&str]| words.iter().any(|word| message.contains(word));
        let mut help = Vec::new();
        if is_about(&["duplicate key"]) {
            help.push("each setting and each header can occur only once, except headers in double brackets");
        } else if is_about(&["unquoted key", "missing assignment", "key with no value"]) {
            help.push("a setting is written NAME = VALUE");
        } else if is_about(&["float", "integer", "must be quoted", "datetime", "missing value"]) {
            help.push("strings are in quotes: \"…\"");
        }
        if places > 1 {
            help.push("there are more syntax errors, perhaps caused by this one");
        }
        if help.is_empty() { fault } else { fault.help(help.join("; ")) }
    }

    /// A value that isn't what was expected.
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

    /// Changes all of its text.
    pub(super) fn map_text(mut self, change: impl Fn(String) -> String) -> Self {
        self.message = change(self.message);
        self.help = self.help.map(&change);
        self.related = self.related.map(|(at, label)| (at, change(label)));
        self
    }

    /// Whether the configuration can be used despite this.
    pub fn is_warning(&self) -> bool {
        self.kind == Kind::Warning
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

/// All errors and warnings about one configuration file. They display with line and column.
#[derive(Debug)]
pub struct Faults {
    path: PathBuf,
    source: String,
    /// Errors first, each in the order of the file. Empty if the file couldn't be read.
    faults: Vec<Fault>,
    unreadable: Option<String>,
}

impl Faults {
    pub(super) fn new(path: &Path, source: String, faults: Vec<Fault>) -> Self {
        let mut all = Self { path: path.to_owned(), source, faults, unreadable: None };
        all.sort();
        all
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
        self.sort();
    }

    fn sort(&mut self) {
        self.faults.sort_by_key(|fault| (fault.is_warning(), fault.at.start));
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::InvalidData => "not UTF-8 text".to_owned(),
            _ => plain(error),
        };
        Self { path: path.to_owned(), source: String::new(), faults: Vec::new(), unreadable: Some(reason) }
    }

    /// The errors, then the warnings, in the order of the file. Empty if the file couldn't be read.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fault> {
        self.faults.iter()
    }

    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty() && self.unreadable.is_none()
    }

    /// Whether there is an error, so that the configuration can't be used.
    pub fn has_errors(&self) -> bool {
        self.unreadable.is_some() || self.faults.iter().any(|fault| !fault.is_warning())
    }

    /// Whether all errors are in the modules of guests.
    pub fn are_in_guests(&self) -> bool {
        let mut errors = self.faults.iter().filter(|fault| !fault.is_warning()).peekable();
        self.unreadable.is_none() && errors.peek().is_some() && errors.all(|fault| fault.kind == Kind::Guest)
    }

    /// Each fault as one line for a log: where it is, what is wrong and what to do.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.faults.iter().map(|fault| {
            let before = &self.source[..fault.at.start.min(self.source.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            let help = fault.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
            format!("{}:{line}:{column}: {}{help}", self.path.display(), fault.message)
        })
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display().to_string();
        if let Some(reason) = &self.unreadable {
            return write!(f, "configuration {path}: {reason}");
        }
        let warnings = self.faults.iter().filter(|fault| fault.is_warning()).count();
        let counts = match (self.faults.len() - warnings, warnings) {
            (errors, 0) => counted(errors, "error"),
            (0, warnings) => counted(warnings, "warning"),
            (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
        };
        write!(f, "configuration {path}: {counts}")?;
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
        let level = if fault.is_warning() { Level::WARNING } else { Level::ERROR };
        let mut group = level.primary_title(&*fault.message).element(snippet);
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
