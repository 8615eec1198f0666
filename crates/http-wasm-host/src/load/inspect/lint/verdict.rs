//! The verdict on a guest, from what the lints found.

use crate::warning::{Lint, Warning};

/// Whether a guest may be loaded, and what to warn of.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Why it is refused.
    pub(crate) refusals: Vec<Warning>,
    pub(crate) warnings: Vec<Warning>,
}

impl Verdict {
    /// The same without what is allowed, and with warnings as refusals if `strict`.
    pub(crate) fn with(mut self, allowed: &[Lint], strict: bool) -> Self {
        let is_allowed = |warning: &Warning| allowed.contains(&warning.lint);
        self.refusals.retain(|warning| !is_allowed(warning));
        self.warnings.retain(|warning| !is_allowed(warning));
        if strict {
            self.refusals.append(&mut self.warnings);
        }
        self
    }
}
