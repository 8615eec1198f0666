//! Single values.

use wasmtime::{Caller, Linker};

use crate::abi::MODULE;
use crate::error::Reason;
use crate::host::Host;
use crate::mutation::Mutation;
use crate::run::hostcalls::Answer;
use crate::run::memory;
use crate::run::state::State;

pub(super) fn replace<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
    match value_writer(mutation) {
        Some(write) => write_values(linker, write),
        None => Ok(()),
    }
}

type ValueWriter = fn(&mut [u8], &[u8], u32, u32) -> Result<u32, Reason>;

fn value_writer(mutation: Mutation) -> Option<ValueWriter> {
    Some(match mutation {
        Mutation::ValueTruncated => |memory, value, buf, limit| {
            let part = &value[..value.len().min(limit as usize)];
            memory::write_if_fits(memory, part, buf, limit)?;
            Ok(value.len() as u32)
        },
        Mutation::ValueLengthClamped => {
            |memory, value, buf, limit| Ok(memory::write_if_fits(memory, value, buf, limit)?.min(limit))
        }
        Mutation::ValueTerminated => |memory, value, buf, limit| {
            let terminated = [value, b"\0"].concat();
            memory::write_if_fits(memory, value, buf, limit)?;
            Ok(memory::write_if_fits(memory, &terminated, buf, limit)? - 1)
        },
        Mutation::ValueExactFitRefused => {
            |memory, value, buf, limit| memory::write_if_fits(memory, value, buf, limit.saturating_sub(1))
        }
        Mutation::ValueBufferChecked => |memory, value, buf, limit| {
            memory::slice_mut(memory, "buf", buf, limit)?;
            memory::write_if_fits(memory, value, buf, limit)
        },
        _ => return None,
    })
}

fn write_values<H: Host>(linker: &mut Linker<State<H>>, write: ValueWriter) -> wasmtime::Result<()> {
    replace!(linker, get_method, |memory, state, buf: u32, limit: u32| -> u32 {
        write(memory, state.exchange()?.method(), buf, limit)
    });
    replace!(linker, get_uri, |memory, state, buf: u32, limit: u32| -> u32 {
        write(memory, state.exchange()?.uri(), buf, limit)
    });
    replace!(linker, get_protocol_version, |memory, state, buf: u32, limit: u32| -> u32 {
        write(memory, state.exchange()?.protocol_version().as_bytes(), buf, limit)
    });
    replace!(linker, get_config, |memory, state, buf: u32, limit: u32| -> u32 {
        write(memory, &state.guest.config, buf, limit)
    });
    Ok(())
}
