//! One step of a decoder.

/// The result of one step of a decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::coding) struct Step {
    /// Bytes taken from the input.
    pub(in crate::coding) read: usize,
    /// Bytes written to the output.
    pub(in crate::coding) written: usize,
}
