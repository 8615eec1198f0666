//! What is probably wrong with a guest that can be loaded.

use std::fmt;

/// A check of how a guest was built. What it finds is a [`Warning`], or a reason to refuse the guest.
///
/// Displays as its name in configuration files and on the command line, as in `unregistered`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lint {
    /// The guest has code that registers or sets up its handlers, but nothing calls it. A guest that does nothing
    /// because of that is refused, unless this lint is [allowed](crate::GuestBuilder::allow).
    Unregistered,
    /// The guest's constructors run before each handler, not once for each instance.
    CommandExports,
    /// `handle_response` needs `buffer_response`, but nothing enables it in time.
    LateBuffering,
    /// A handler has a default parameter, which AssemblyScript treats as not passed.
    DefaultParameters,
    /// The guest is to rewrite bodies while they stream, but doesn't declare that it can; see
    /// [`Stream`](crate::Stream). It is refused, unless this lint is [allowed](crate::GuestBuilder::allow).
    UndeclaredStream,
}

impl Lint {
    /// All lints.
    pub const ALL: [Self; 5] = [
        Self::Unregistered,
        Self::CommandExports,
        Self::LateBuffering,
        Self::DefaultParameters,
        Self::UndeclaredStream,
    ];
}

crate::choices! {
    Lint {
        Unregistered = "unregistered",
        CommandExports = "command-exports",
        LateBuffering = "late-buffering",
        DefaultParameters = "default-parameters",
        UndeclaredStream = "undeclared-stream",
    }
}

/// Something that a [`Lint`] found in a guest.
///
/// [`GuestFacts::warnings`](crate::GuestFacts::warnings) has those of a loaded guest, which are also logged. Displays
/// as "what was found; what to do".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// The check that found it.
    pub lint: Lint,
    /// What was found.
    pub what: String,
    /// What to change in the guest or its build.
    pub help: String,
}

impl Warning {
    pub(crate) fn new(lint: Lint, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { lint, what: what.into(), help: help.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.help)
    }
}
