//! One step of a decoder.

/// What one step of a decoder did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::coding) struct Step {
    /// Bytes taken from the input.
    pub(in crate::coding) read: usize,
    /// Bytes put into the output.
    pub(in crate::coding) written: usize,
}
