//! The only code that accesses a guest's linear memory.

use wasmtime::{Caller, Extern, Memory};

use crate::error::Reason;

/// What a store's data must provide so that host functions can find the guest's memory.
pub(crate) trait HasMemory: Send + 'static {
    /// The memory, once the instance is created. Looking it up by name costs more than a host call.
    fn memory(&self) -> Option<Memory>;
}

/// The guest's memory and the store's data.
#[inline]
pub(crate) fn split<'a, T: HasMemory>(
    caller: &'a mut Caller<'_, T>,
) -> Result<(&'a mut [u8], &'a mut T), Reason> {
    let memory = match caller.data().memory() {
        Some(memory) => memory,
        // A start function runs before the host has a handle to the instance.
        None => caller.get_export("memory").and_then(Extern::into_memory).ok_or_else(|| Reason::NoMemory)?,
    };
    Ok(memory.data_and_store_mut(caller))
}

/// The bytes that the guest passes as `argument` and its length.
#[inline]
pub(crate) fn read<'m>(
    memory: &'m [u8],
    argument: &'static str,
    offset: u32,
    len: u32,
) -> Result<&'m [u8], Reason> {
    let (start, end) = range(memory, argument, offset, len)?;
    Ok(&memory[start..end])
}

/// The bytes of `argument`, for the host to fill in.
#[inline]
pub(crate) fn slice_mut<'m>(
    memory: &'m mut [u8],
    argument: &'static str,
    offset: u32,
    len: u32,
) -> Result<&'m mut [u8], Reason> {
    let (start, end) = range(memory, argument, offset, len)?;
    Ok(&mut memory[start..end])
}

/// Writes `value` if it fits into `buf_limit`. Returns its length in either case, so that the guest can retry with a
/// larger buffer. Only the bytes that are written must be in bounds.
#[inline]
pub(crate) fn write_if_fits(
    memory: &mut [u8],
    value: &[u8],
    buf: u32,
    buf_limit: u32,
) -> Result<u32, Reason> {
    let len = u32::try_from(value.len()).map_err(|_| Reason::TooLongForGuest)?;
    if 0 < len && len <= buf_limit {
        slice_mut(memory, "buf", buf, len)?.copy_from_slice(value);
    }
    Ok(len)
}

#[inline]
fn range(memory: &[u8], argument: &'static str, offset: u32, len: u32) -> Result<(usize, usize), Reason> {
    let start = offset as usize;
    match start.checked_add(len as usize) {
        // Nothing is accessed, so any pointer is valid: guests pass null for an empty string.
        _ if len == 0 => Ok((0, 0)),
        Some(end) if end <= memory.len() => Ok((start, end)),
        _ => Err(Reason::OutOfBounds { argument, offset, len, memory: memory.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_longer_than_the_limit_is_not_even_partially_written() {
        let mut memory = [0; 8];
        assert_eq!(write_if_fits(&mut memory, b"abc", 0, 2).unwrap(), 3);
        assert_eq!(memory, [0; 8]);
    }

    #[test]
    fn only_the_bytes_actually_written_must_be_in_bounds() {
        let mut memory = [0; 4];
        assert_eq!(write_if_fits(&mut memory, b"abc", 1, u32::MAX).unwrap(), 3);
        assert_eq!(&memory, b"\0abc");
        assert!(write_if_fits(&mut memory, b"abc", 2, 3).is_err());
        assert_eq!(write_if_fits(&mut memory, b"", u32::MAX, 1).unwrap(), 0);
    }

    #[test]
    fn a_range_that_wraps_around_is_out_of_bounds() {
        assert!(read(&[0; 4], "uri", u32::MAX, 2).is_err());
        assert!(read(&[0; 4], "uri", 4, 1).is_err());
        assert_eq!(read(&[7; 4], "uri", 3, 1).unwrap(), [7]);
    }
}
