//! File descriptors for a guest without files: only 0, 1 and 2 exist.
//!
//! Standard input is empty; the others write to the log. They can't actually be closed, since nothing could replace
//! them.

use super::errno::{Answer, Errno, field, put, put_u32, slice};
use super::lines::{LineSink, Stream};
use super::state::Call;

/// The most buffers per call. C libraries promise to accept this many (`IOV_MAX`).
const MAX_IOVECS: u32 = 1024;
/// The most bytes written per call. As with a pipe, guests expect to write the rest with further calls. It keeps a call
/// from logging for seconds.
const MAX_WRITE: usize = 64 * 1024;

const IOVEC: usize = 8;
const CHARACTER_DEVICE: u8 = 2;
const RIGHT_READ: u64 = 1 << 1;
const RIGHT_WRITE: u64 = 1 << 6;

pub(super) fn fd_write(call: &mut Call<'_>, fd: u32, iovs: u32, iovs_len: u32, nwritten: u32) -> Answer {
    let Call { memory, wasi, log, .. } = call;
    let (lines, stream) = match fd {
        1 => (&mut wasi.stdout, Stream::Stdout),
        2 => (&mut wasi.stderr, Stream::Stderr),
        _ => return Err(Errno::BADF),
    };
    // Everything is checked before anything is logged, so that a failed call has no effect.
    slice(memory, nwritten, 4)?;
    for buffer in buffers(memory, iovs, iovs_len)? {
        buffer?;
    }
    let mut room = MAX_WRITE;
    for buffer in buffers(memory, iovs, iovs_len)? {
        let buffer = buffer?;
        let taken = &buffer[..buffer.len().min(room)];
        lines.write(taken, LineSink { log, stream });
        room -= taken.len();
    }
    put_u32(memory, nwritten, (MAX_WRITE - room) as u32)
}

/// The buffers described by an array of `iovs_len` pointers and lengths.
fn buffers(
    memory: &[u8],
    iovs: u32,
    iovs_len: u32,
) -> Result<impl Iterator<Item = Result<&[u8], Errno>>, Errno> {
    if iovs_len > MAX_IOVECS {
        return Err(Errno::INVAL);
    }
    let iovs = slice(memory, iovs, iovs_len * IOVEC as u32)?;
    Ok(iovs.chunks_exact(IOVEC).map(|iovec| {
        let (buf, len) = (u32::from_le_bytes(field(iovec, 0)?), u32::from_le_bytes(field(iovec, 4)?));
        slice(memory, buf, len)
    }))
}

/// Standard input is at its end from the start.
pub(super) fn fd_read(call: &mut Call<'_>, fd: u32, _iovs: u32, _iovs_len: u32, nread: u32) -> Answer {
    match fd {
        0 => put_u32(call.memory, nread, 0),
        _ => Err(Errno::BADF),
    }
}

/// Reports a terminal, so that C libraries write line by line. Otherwise, they would hold back output until a buffer is
/// full, which can take hours for a handler that never exits.
pub(super) fn fd_fdstat_get(call: &mut Call<'_>, fd: u32, stat: u32) -> Answer {
    standard(fd)?;
    let rights = if fd == 0 { RIGHT_READ } else { RIGHT_WRITE };
    let mut record = [0; 24];
    record[0] = CHARACTER_DEVICE;
    record[8..16].copy_from_slice(&rights.to_le_bytes());
    record[16..24].copy_from_slice(&rights.to_le_bytes());
    put(call.memory, stat, &record)
}

pub(super) fn fd_filestat_get(call: &mut Call<'_>, fd: u32, stat: u32) -> Answer {
    standard(fd)?;
    let mut record = [0; 64];
    record[16] = CHARACTER_DEVICE;
    put(call.memory, stat, &record)
}

/// Go makes them non-blocking during start-up. They never block anyway.
pub(super) fn fd_fdstat_set_flags(_: &mut Call<'_>, fd: u32, _flags: u32) -> Answer {
    standard(fd)
}

pub(super) fn fd_close(_: &mut Call<'_>, fd: u32) -> Answer {
    standard(fd)
}

fn standard(fd: u32) -> Answer {
    if fd <= 2 { Ok(()) } else { Err(Errno::BADF) }
}
