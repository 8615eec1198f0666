//! Bodies.

use std::task::Poll;

use http_wasm_host::{HostCall, Intercepted};

use super::{REQUEST, RESPONSE, bytes, check_buffer, ready};
use crate::mutation::Mutation;

pub(super) fn broken(mutation: Mutation, call: &mut HostCall<'_>) -> Option<Intercepted> {
    Some(match (mutation, call.function, call.args) {
        (Mutation::EofNever, "read_body", _) => reread(call, |_, _| false),
        (Mutation::EofEarly, "read_body", _) => reread(call, |_, _| true),
        (Mutation::EofLate, "read_body", _) => reread(call, |eof, len| eof && len == 0),
        (Mutation::ReadShort, "read_body", &[kind, buf, limit]) => check_buffer(call, buf, limit)
            .and_then(|()| call.call("read_body", &[kind, buf, limit.min(1000)])),
        (Mutation::ReadClamped, "read_body", &[kind, buf, limit]) => {
            let room = call.memory.len().saturating_sub(buf as usize).min(limit as usize) as u32;
            call.call("read_body", &[kind, buf, if room == 0 { limit } else { room }])
        }
        (Mutation::WriteReplaces, "write_body", &[kind @ (REQUEST | RESPONSE), body, len])
            if len == 0 || bytes(call.memory, body, len).is_some() =>
        {
            emptied(call, kind).and_then(|_| call.proceed())
        }
        (Mutation::EmptyWriteIgnored, "write_body", &[_, _, 0]) => ready(0u32),
        _ => return None,
    })
}

/// Reads with a different EOF flag, computed from the correct one and the length.
fn reread(call: &mut HostCall<'_>, eof: fn(bool, u32) -> bool) -> Intercepted {
    Ok(call.proceed()?.map(|read| {
        let len = read as u32;
        u64::from(eof(read >> 32 != 0, len)) << 32 | u64::from(len)
    }))
}

/// Empties the body, in the one way that the ABI provides.
fn emptied(call: &mut HostCall<'_>, kind: u32) -> Intercepted {
    const NAME: &[u8] = b"content-length";
    let name_len = NAME.len() as u32;
    let mut memory = [NAME, b"0"].concat();
    let emptied = call.call_on(&mut memory, "set_header_value", &[kind, 0, name_len, name_len, 1])?;
    debug_assert_eq!(emptied, Poll::Ready(0));
    Ok(emptied)
}
