//! Why a body can't be decoded.

use super::Coding;

/// Why a body can't be decoded. The first word of each message is the coding, so that an operator can tell which side
/// is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The bytes don't follow the coding's format, or a checksum is wrong.
    #[error("{} data is corrupt", .0.name())]
    Corrupt(Coding),
    /// The body ends before its coded data does.
    #[error("{} data is truncated", .0.name())]
    Truncated(Coding),
    /// Something follows the coded data.
    #[error("{} data is followed by other bytes", .0.name())]
    TrailingBytes(Coding),
    /// The sender used a larger window than recipients have to support.
    #[error("{} data needs a window of {window} bytes, more than the maximum of {max} bytes", .coding.name())]
    Window { coding: Coding, window: u64, max: u64 },
    /// A decompression bomb.
    #[error("{} data expands to more than {ratio} times its size", .coding.name())]
    Ratio { coding: Coding, ratio: u32 },
}
