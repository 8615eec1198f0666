//! How cases ended.

use std::time::Duration;

use crate::case::Section;

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The host conforms to the ABI.
    Passed,
    /// What was expected, and what was seen instead.
    Failed(String),
    /// Why it wasn't run.
    Skipped(String),
}

/// A case and its result.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `group/name`.
    pub id: String,
    /// `core`, or the group that needs its own hosts.
    pub group: String,
    /// Where the ABI says it.
    pub section: Section,
    /// What the ABI says.
    pub says: String,
    /// How the reference host differs, if it does.
    pub differs: Option<&'static str>,
    /// The result.
    pub verdict: Verdict,
    /// How long it took.
    pub time: Duration,
}
