//! Arguments and environment variables, in the layout that guests copy.

use super::config::WasiConfig;
use super::errno::{Answer, Errno, put, put_u32, slice, slice_mut};

/// A list of strings, each terminated by a NUL. Created once per guest.
pub(super) struct Strings {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Strings {
    pub(super) fn args(config: &WasiConfig) -> Self {
        Self::new(config.args.iter().map(|arg| [arg.as_bytes()]))
    }

    pub(super) fn env(config: &WasiConfig) -> Self {
        Self::new(config.env.iter().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()]))
    }

    fn new<'a, const N: usize>(strings: impl Iterator<Item = [&'a [u8]; N]>) -> Self {
        let mut list = Self { bytes: Vec::new(), starts: Vec::new() };
        for parts in strings {
            // Strings of more than 4 GiB can't be passed: `get` will find no room for them.
            list.starts.push(list.bytes.len() as u32);
            list.bytes.extend(parts.concat());
            list.bytes.push(0);
        }
        list
    }

    /// The bytes of the table of pointers, and of the strings.
    pub(super) fn lengths(&self) -> (u32, u32) {
        (self.starts.len() as u32 * 4, self.bytes.len() as u32)
    }

    pub(super) fn sizes(&self, memory: &mut [u8], count: u32, size: u32) -> Answer {
        slice(memory, size, 4)?;
        put_u32(memory, count, self.starts.len() as u32)?;
        put_u32(memory, size, self.bytes.len() as u32)
    }

    /// Writes the strings to `buffer` and a pointer to each to `pointers`.
    pub(super) fn get(&self, memory: &mut [u8], pointers: u32, buffer: u32) -> Answer {
        let table = self.starts.len().checked_mul(4).and_then(|len| u32::try_from(len).ok());
        let table = table.ok_or(Errno::FAULT)?;
        slice(memory, pointers, table)?;
        put(memory, buffer, &self.bytes)?;
        let pointers = slice_mut(memory, pointers, table)?;
        for (pointer, start) in pointers.chunks_exact_mut(4).zip(&self.starts) {
            pointer.copy_from_slice(&(buffer + start).to_le_bytes());
        }
        Ok(())
    }
}
