//! A configuration file as far as it could be read.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::check::{self, Checked};
use super::fault::{Fault, Faults};
use super::model::{Config, Substituted};
use super::read::{Context, Located, Replaced, Value as _, redacted};
use super::references;
use crate::fingerprint::Fingerprints;

/// A configuration file as far as it could be read, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Draft {
    /// `None` if nothing could be read.
    config: Option<Config>,
    checked: Checked,
    faults: Faults,
    replaced: Vec<Replaced>,
    /// Fingerprints of the files that strings refer to.
    references: Fingerprints,
}

impl Draft {
    /// Reads and checks a file. Relative paths in it are relative to its directory.
    pub(crate) fn read(path: &Path) -> Self {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, text),
            Err(error) => Self::nothing(Faults::unreadable(path, &error)),
        }
    }

    /// Reads and checks the text of a file. `path` is where it comes from.
    pub(crate) fn parse(path: &Path, text: String) -> Self {
        let (mut document, syntax) = DeTable::parse_recoverable(&text);
        if let Some(first) = syntax.iter().min_by_key(|error| error.span().map(|span| span.start)) {
            // A syntax error affects how the rest is read, so all further faults could be wrong.
            let fault = Fault::syntax(first, syntax.len());
            return Self::nothing(Faults::new(path, text, vec![fault]));
        }
        let base = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let mut context = Context::new(base, &text);
        references::replace(document.get_mut(), &text, &mut context);
        let span = document.span();
        let document = toml::Spanned::new(span, DeValue::Table(document.into_inner()));
        let mut config = Config::read(&document, &mut context);
        let checked = config.as_ref().map(|config| check::check(config, &mut context)).unwrap_or_default();
        let (faults, replaced, references) = context.into_parts();
        if let Some(config) = &mut config {
            let values = replaced.iter().flat_map(|string| &string.values);
            config.substituted = values.map(|(_, value)| Substituted::new(value.0.clone())).collect();
        }
        Self { config, checked, faults: Faults::new(path, text, faults), replaced, references }
    }

    fn nothing(faults: Faults) -> Self {
        let (checked, references) = Default::default();
        Self { config: None, checked, faults, replaced: Vec::new(), references }
    }

    /// Fingerprints of the files that strings refer to.
    pub(crate) fn references(&self) -> &Fingerprints {
        &self.references
    }

    /// The configuration, and the warnings about it.
    ///
    /// # Errors
    /// All faults, including warnings.
    pub(crate) fn finish(self) -> Result<(Config, Faults), Faults> {
        match self.config {
            Some(config) if !self.faults.has_errors() => Ok((config, self.faults)),
            _ => Err(self.faults),
        }
    }

    /// What could be read, without the guests and upstreams that have errors.
    pub(crate) fn usable(&self) -> Option<Config> {
        let mut config = self.config.clone()?;
        config.guests.retain(|name, guest| !guest.was_read_in_part() && !self.checked.guests.contains(name));
        config.upstreams.retain(|name, it| !it.was_read_in_part() && !self.checked.upstreams.contains(name));
        Some(config)
    }

    /// Adds the reason why a guest can't be loaded.
    pub(crate) fn add_guest_error(&mut self, name: &str, reason: String) {
        self.add(Fault::guest(self.guest(name), reason));
    }

    /// Adds a warning about a guest.
    pub(crate) fn add_guest_warning(&mut self, name: &str, warning: String) {
        self.add(Fault::warning(self.guest(name), warning));
    }

    /// Adds the reason why an upstream can't be used.
    pub(crate) fn add_upstream_error(&mut self, name: &str, reason: String) {
        let upstream = self.config.as_ref().and_then(|config| config.upstreams.get(name));
        self.add(Fault::new(upstream.map(Located::key_span).unwrap_or_default(), reason));
    }

    fn add(&mut self, fault: Fault) {
        let at = fault.span();
        self.faults.add(fault.map_text(|text| redacted(text, &at, &self.replaced)));
    }

    /// The position of a guest's file name.
    fn guest(&self, name: &str) -> Range<usize> {
        let guest = self.config.as_ref().and_then(|config| config.guests.get(name));
        guest.map(|guest| guest.path.span()).unwrap_or_default()
    }
}
