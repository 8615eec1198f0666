//! Bodies.

use std::task::Poll;

use wasmtime::{Caller, Linker};

use crate::abi::{BodyKind, EofLen, MODULE};
use crate::host::Host;
use crate::mutation::Mutation;
use crate::run::hostcalls::{Answer, body};
use crate::run::memory;
use crate::run::state::State;

pub(super) fn replace<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
    /// Replaces `read_body` by one whose result goes through a function of EOF flag and length.
    macro_rules! reading {
        (|$eof:ident, $len:ident| $spoilt:expr) => {
            replace!(linker, read_body, |memory, state, kind: u32, buf: u32, limit: u32| -> u64 {
                let read = arrived!(body::read_body(memory, state, kind, buf, limit));
                let ($eof, $len) = (read >> 32 != 0, read as u32);
                Ok(Poll::Ready(EofLen { eof: $spoilt, len: $len }.pack()))
            })
        };
    }
    match mutation {
        Mutation::EofNever => reading!(|_eof, len| false),
        Mutation::EofEarly => reading!(|_eof, len| true),
        Mutation::EofLate => reading!(|eof, len| eof && len == 0),
        Mutation::ReadShort => {
            replace!(linker, read_body, |memory, state, kind: u32, buf: u32, limit: u32| -> u64 {
                memory::slice_mut(memory, "buf", buf, limit)?;
                body::read_body(memory, state, kind, buf, limit.min(1000))
            })
        }
        Mutation::ReadClamped => {
            replace!(linker, read_body, |memory, state, kind: u32, buf: u32, limit: u32| -> u64 {
                let room = memory.len().saturating_sub(buf as usize).min(limit as usize) as u32;
                body::read_body(memory, state, kind, buf, if room == 0 { limit } else { room })
            })
        }
        Mutation::RequestConsumed => {
            replace!(linker, read_body, |memory, state, kind: u32, buf: u32, limit: u32| -> u64 {
                let features = state.exchange()?.without_buffer_request();
                let read = body::read_body(memory, state, kind, buf, limit);
                state.exchange()?.restore_features(features);
                read
            })
        }
        Mutation::LastReadOnly => {
            replace!(linker, read_body, |memory, state, kind: u32, buf: u32, limit: u32| -> u64 {
                if let Some(kind) = BodyKind::from_abi(kind) {
                    state.exchange()?.forget_reads(kind);
                }
                body::read_body(memory, state, kind, buf, limit)
            })
        }
        Mutation::WriteReplaces => {
            replace!(linker, write_body, |memory, state, kind: u32, body: u32, len: u32| -> () {
                if let (Some(kind), Ok(_)) =
                    (BodyKind::from_abi(kind), memory::read(memory, "body", body, len))
                {
                    state.exchange()?.empty_body(kind)?;
                }
                body::write_body(memory, state, kind, body, len)
            })
        }
        Mutation::EmptyWriteIgnored => {
            replace!(linker, write_body, |memory, state, kind: u32, body: u32, len: u32| -> () {
                if len == 0 { Ok(()) } else { body::write_body(memory, state, kind, body, len) }
            })
        }
        _ => return Ok(()),
    };
    Ok(())
}
