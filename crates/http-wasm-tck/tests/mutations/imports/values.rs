//! Single values.

use http_wasm_host::{HostCall, Intercepted, Trap};

use super::{check_buffer, ready, value, write_if_fits};
use crate::mutation::Mutation;

pub(super) fn broken(mutation: Mutation, call: &mut HostCall<'_>) -> Option<Intercepted> {
    let write = writer(mutation)?;
    if !matches!(call.function, "get_method" | "get_uri" | "get_protocol_version" | "get_config") {
        return None;
    }
    let [buf, limit] = *call.args else { return None };
    Some(value(call, call.function).and_then(|value| ready(write(call, &value, buf, limit)?)))
}

type Writer = fn(&mut HostCall<'_>, &[u8], u32, u32) -> Result<u32, Trap>;

fn writer(mutation: Mutation) -> Option<Writer> {
    Some(match mutation {
        Mutation::ValueTruncated => |call, value, buf, limit| {
            write_if_fits(call, &value[..value.len().min(limit as usize)], buf, limit)?;
            Ok(value.len() as u32)
        },
        Mutation::ValueLengthClamped => {
            |call, value, buf, limit| Ok(write_if_fits(call, value, buf, limit)?.min(limit))
        }
        Mutation::ValueTerminated => |call, value, buf, limit| {
            write_if_fits(call, value, buf, limit)?;
            Ok(write_if_fits(call, &[value, b"\0"].concat(), buf, limit)? - 1)
        },
        Mutation::ValueExactFitRefused => {
            |call, value, buf, limit| write_if_fits(call, value, buf, limit.saturating_sub(1))
        }
        Mutation::ValueBufferChecked => |call, value, buf, limit| {
            check_buffer(call, buf, limit)?;
            write_if_fits(call, value, buf, limit)
        },
        _ => return None,
    })
}
