//! Size limits of responses.

/// Maximum size of heads and trailers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseLimits {
    /// Bytes of a head, including informational responses before it; also bytes of trailers.
    pub(crate) bytes: usize,
    /// Fields of a head; also of trailers.
    pub(crate) fields: usize,
}

impl Default for ResponseLimits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, fields: 256 }
    }
}
