//! The operands of a script's steps.

/// An operand.
#[derive(Clone, Debug)]
pub enum Arg {
    /// A number.
    N(u32),
    /// A string: two operands, its address and its length.
    T(Vec<u8>),
    /// The low half of the last result.
    Low,
    /// The high half of the last result.
    High,
    /// The low half of a register.
    Register(u8),
}

impl From<u32> for Arg {
    fn from(number: u32) -> Self {
        Self::N(number)
    }
}

impl<const N: usize> From<&[u8; N]> for Arg {
    fn from(text: &[u8; N]) -> Self {
        Self::T(text.to_vec())
    }
}

impl From<&[u8]> for Arg {
    fn from(text: &[u8]) -> Self {
        Self::T(text.to_vec())
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self::T(text.as_bytes().to_vec())
    }
}
