//! A callback for each call of a host function.

use std::fmt;
use std::sync::Arc;

/// Is called with the name of each host function that a guest calls. For `()`, nothing is compiled.
pub(crate) trait OnHostCall: Clone + Send + Sync + 'static {
    fn called(&self, function: &'static str);
}

impl OnHostCall for () {
    fn called(&self, _: &'static str) {}
}

/// A callback of the embedding program.
#[derive(Clone)]
pub(crate) struct Hook(pub(crate) Arc<dyn Fn(&'static str) + Send + Sync>);

impl OnHostCall for Hook {
    fn called(&self, function: &'static str) {
        (self.0)(function);
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
