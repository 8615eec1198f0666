//! Reads the custom section in which tools record their names.

use std::fmt;

use wasmparser::{CustomSectionReader, KnownCustom};

use crate::fault::shown;

/// An entry that records what a module was built with.
///
/// Displays as "processed-by: rustc 1.95.0".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    /// The name of the language or tool.
    pub name: String,
    /// The version, which may be empty.
    pub version: String,
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.name)?;
        if self.version.is_empty() { Ok(()) } else { write!(f, " {}", self.version) }
    }
}

/// More than any toolchain writes.
const MAX_VALUES: usize = 32;

/// The entries of a `producers` section, or none for other sections. A malformed section is ignored.
pub(super) fn read(section: &CustomSectionReader<'_>) -> Vec<Producer> {
    let KnownCustom::Producers(fields) = section.as_known() else {
        return Vec::new();
    };
    let values = fields.into_iter().map_while(Result::ok).flat_map(|field| {
        let values = field.values.into_iter().map_while(Result::ok);
        values.map(move |value| Producer {
            field: shown(field.name),
            name: shown(value.name),
            version: shown(value.version),
        })
    });
    values.take(MAX_VALUES).collect()
}
