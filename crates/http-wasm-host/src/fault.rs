//! What is wrong with a guest, worded for its developer.

use std::fmt;

/// One reason why a module can't run as an http-wasm guest.
///
/// Displays as "what is wrong; what to do".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// What was found, naming the import or export concerned.
    pub what: String,
    /// What to change, if known.
    pub help: Option<String>,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: Some(help.into()) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// A module may have a million invalid imports, but only the first few are of interest.
const MAX_FAULTS: usize = 32;

/// Collects faults, keeping the first [`MAX_FAULTS`] and the number of the others.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    kept: Vec<Fault>,
    left_out: usize,
}

impl Faults {
    pub(crate) fn push(&mut self, fault: Fault) {
        if self.kept.len() < MAX_FAULTS {
            self.kept.push(fault);
        } else {
            self.left_out += 1;
        }
    }

    /// The faults as an error, or `Ok` if there are none.
    pub(crate) fn into_result(mut self) -> Result<(), Vec<Fault>> {
        if self.left_out > 0 {
            let what = format!("{} more like these", self.left_out);
            self.kept.push(Fault { what, help: None });
        }
        if self.kept.is_empty() { Ok(()) } else { Err(self.kept) }
    }
}

/// How much of a name or other text from a module a message shows.
const MAX_SHOWN: usize = 120;

/// Text from the module, made safe for a terminal or a log line: control characters escaped, truncated if very long.
pub(crate) fn shown(name: &str) -> String {
    let mut chars = name.chars();
    let mut out: String = chars.by_ref().take(MAX_SHOWN).flat_map(escaped).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    // Quotes and non-ASCII letters stay readable; `escape_debug` escapes what would move the cursor.
    let keep = matches!(c, '"' | '\'' | '\\');
    keep.then_some(c).into_iter().chain((!keep).then(|| c.escape_debug()).into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_was_wrong_and_what_to_do() {
        assert_eq!(
            Fault::new("the file is empty", "build it again").to_string(),
            "the file is empty; build it again"
        );
        assert_eq!(Fault { what: "bad".into(), help: None }.to_string(), "bad");
    }

    #[test]
    fn names_from_a_module_are_escaped_and_shortened() {
        assert_eq!(shown("a\n\u{1b}[2Jb\"ü"), "a\\n\\u{1b}[2Jb\"ü");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), MAX_SHOWN + 1);
    }

    #[test]
    fn faults_past_the_cap_are_counted() {
        let mut faults = Faults::default();
        for _ in 0..MAX_FAULTS + 5 {
            faults.push(Fault::new("x", "y"));
        }
        let faults = faults.into_result().unwrap_err();
        assert_eq!(faults.len(), MAX_FAULTS + 1);
        assert_eq!(faults[MAX_FAULTS].to_string(), "5 more like these");
    }
}
