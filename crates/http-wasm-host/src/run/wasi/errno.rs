//! Error numbers, and access to the guest's memory that returns them.

use crate::run::memory;

/// A `wasi_snapshot_preview1` error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Errno(u16);

impl Errno {
    /// The file descriptor doesn't exist, or isn't valid for this operation.
    pub(super) const BADF: Self = Self(8);
    /// Memory out of bounds. Preview 1 reports it as an error number instead of a trap.
    pub(super) const FAULT: Self = Self(21);
    pub(super) const INVAL: Self = Self(28);
    pub(super) const IO: Self = Self(29);
    pub(super) const NOSYS: Self = Self(52);
    pub(super) const NOTSOCK: Self = Self(57);
    /// The file descriptor isn't seekable.
    pub(super) const SPIPE: Self = Self(70);

    pub(super) fn code(self) -> u16 {
        self.0
    }
}

/// The result of a function. Further results are written to the guest's memory.
pub(super) type Answer = Result<(), Errno>;

pub(super) fn slice(memory: &[u8], offset: u32, len: u32) -> Result<&[u8], Errno> {
    memory::read(memory, "", offset, len).map_err(|_| Errno::FAULT)
}

pub(super) fn slice_mut(memory: &mut [u8], offset: u32, len: u32) -> Result<&mut [u8], Errno> {
    memory::slice_mut(memory, "", offset, len).map_err(|_| Errno::FAULT)
}

pub(super) fn put(memory: &mut [u8], offset: u32, value: &[u8]) -> Answer {
    let len = u32::try_from(value.len()).map_err(|_| Errno::FAULT)?;
    slice_mut(memory, offset, len)?.copy_from_slice(value);
    Ok(())
}

pub(super) fn put_u32(memory: &mut [u8], offset: u32, value: u32) -> Answer {
    put(memory, offset, &value.to_le_bytes())
}

pub(super) fn put_u64(memory: &mut [u8], offset: u32, value: u64) -> Answer {
    put(memory, offset, &value.to_le_bytes())
}

/// The `N` bytes of `record` at `at`: a field of a struct whose size has been checked.
pub(super) fn field<const N: usize>(record: &[u8], at: usize) -> Result<[u8; N], Errno> {
    let bytes = record.get(at..at + N).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(Errno::FAULT)
}
