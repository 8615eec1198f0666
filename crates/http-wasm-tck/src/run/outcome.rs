//! How cases ended.

use std::time::Duration;

use crate::case::Section;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As the ABI says.
    Passed,
    /// What was expected, and what was seen instead.
    Failed(String),
    /// Why it was not run.
    Skipped(String),
}

/// A case and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `group/name`.
    pub id: String,
    /// `core`, or the group that needs hosts of its own.
    pub group: String,
    /// Where the ABI says it.
    pub section: Section,
    /// What the ABI says.
    pub says: String,
    /// How the reference host differs, if it does.
    pub differs: Option<&'static str>,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub time: Duration,
}
