//! Size limits of responses.

/// The maximum size of heads and trailers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseLimits {
    /// The bytes of a head, including informational responses before it. The same limit applies to trailers.
    pub(crate) bytes: usize,
    /// The fields of a head. The same limit applies to trailers.
    pub(crate) fields: usize,
}

impl Default for ResponseLimits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, fields: 256 }
    }
}
