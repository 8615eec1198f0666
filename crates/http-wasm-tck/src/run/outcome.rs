//! The results of cases.

use std::time::Duration;

use crate::case::Section;

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The host conforms to the ABI.
    Passed,
    /// It doesn't: what was expected, and what was seen instead.
    Failed(String),
    /// The case wasn't run, for this reason.
    Skipped(String),
}

/// A case and its result.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `group/name`.
    pub id: String,
    /// `core`, or the group that needs its own hosts.
    pub group: String,
    /// The section of the ABI's description.
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
