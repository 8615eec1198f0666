//! File descriptors for a guest without files: 0, 1 and 2, and no others.
//!
//! Standard input is empty, the other two lead to the log. None can really be closed, as no other could take its place.

use super::errno::{Answer, Errno, field, put, put_u32, slice};
use super::lines::{LineSink, Stream};
use super::state::Call;

/// Buffers per call, as many as C libraries promise to take (`IOV_MAX`).
const MAX_IOVECS: u32 = 1024;
/// Bytes taken per call, as a pipe does: the rest is for a further call, which guests expect. It keeps one
/// call from logging for seconds.
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
    // Everything is checked before anything is logged, so that a call that fails has no effect.
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

/// The buffers that an array of `iovs_len` pointers and lengths describes.
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

/// Reports a terminal, because C libraries then write line by line; for anything else they would hold output back until
/// a buffer is full, and that of a handler that never exits might not appear for hours.
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

/// Go makes them non-blocking while it starts; they never block anyway.
pub(super) fn fd_fdstat_set_flags(_: &mut Call<'_>, fd: u32, _flags: u32) -> Answer {
    standard(fd)
}

pub(super) fn fd_close(_: &mut Call<'_>, fd: u32) -> Answer {
    standard(fd)
}

fn standard(fd: u32) -> Answer {
    if fd <= 2 { Ok(()) } else { Err(Errno::BADF) }
}
