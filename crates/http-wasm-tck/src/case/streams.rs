//! Which messages a host lets guests write while they are sent.

use std::fmt;

/// Which messages a host lets guests write while they are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// Requests.
    Request,
    /// Responses.
    Response,
    /// Both.
    #[default]
    Both,
}

impl Streams {
    /// Whether a host that streams these messages streams all of `others`.
    pub(crate) fn includes(self, others: Self) -> bool {
        self == Self::Both || self == others
    }
}

impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "requests",
            Self::Response => "responses",
            Self::Both => "requests and responses",
        })
    }
}
