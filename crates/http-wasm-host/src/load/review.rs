//! The verdict on a guest that can be loaded: warnings, or a rejection.

use std::sync::Arc;

use crate::abi::Features;
use crate::error::LoadError;
use crate::load::inspect::lint::{LintFacts, Probed};
use crate::warning::{Lint, Warning};

/// What a guest's review depends on.
pub(crate) struct Review {
    pub(crate) allowed: Vec<Lint>,
    pub(crate) strict: bool,
}

impl Review {
    /// Logs and returns the warnings about a guest that enabled `features` during start-up.
    ///
    /// # Errors
    /// If the guest is rejected.
    pub(crate) fn conclude(
        self,
        guest: &Arc<str>,
        lint_facts: &LintFacts,
        features: Features,
        probed: Probed,
    ) -> Result<Vec<Warning>, LoadError> {
        let verdict = lint_facts.judge(features, probed).with(&self.allowed, self.strict);
        if !verdict.refusals.is_empty() {
            return Err(LoadError::Refused { guest: guest.clone(), warnings: verdict.refusals });
        }
        for warning in &verdict.warnings {
            tracing::warn!(guest = &**guest, lint = warning.lint.name(), "{warning}");
        }
        Ok(verdict.warnings)
    }
}
