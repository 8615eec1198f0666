//! The verdict on a guest, according to the lints.

use crate::warning::{Lint, Warning};

/// Whether a guest may be loaded, and the warnings about it.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Why it is rejected.
    pub(crate) refusals: Vec<Warning>,
    pub(crate) warnings: Vec<Warning>,
}

impl Verdict {
    /// Removes what is allowed and, if `strict`, turns warnings into refusals.
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
