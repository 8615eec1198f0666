//! Missing traps.

use std::task::Poll;

use http_wasm_host::{HostCall, Intercepted};

use crate::mutation::Mutation;

pub(super) fn broken(mutation: Mutation, call: &mut HostCall<'_>) -> Option<Intercepted> {
    let forgiven = forgiven(mutation)?;
    if matches!(call.function, "enable_features" | "get_config" | "log_enabled" | "get_status_code") {
        return None;
    }
    let answer = call.proceed();
    Some(match &answer {
        Err(trap) if forgiven(&format!("{trap:?}")) => {
            const AT_END: u64 = 1 << 32;
            Ok(Poll::Ready(if call.function == "read_body" { AT_END } else { 0 }))
        }
        _ => answer,
    })
}

/// A predicate for the traps that a mutation suppresses, on their `Debug` output.
fn forgiven(mutation: Mutation) -> Option<fn(&str) -> bool> {
    Some(match mutation {
        Mutation::WriteFaultIgnored => |trap| trap.contains("OutOfBounds { argument: \"buf\""),
        Mutation::ReadFaultIgnored => {
            |trap| trap.contains("OutOfBounds") && !trap.contains("argument: \"buf\"")
        }
        Mutation::EmptyMethodIgnored => |trap| trap.contains("Empty { argument: \"method\""),
        Mutation::InvalidMethodIgnored => |trap| trap.contains("Invalid { argument: \"method\""),
        Mutation::EmptyNameIgnored => |trap| trap.contains("Empty { argument: \"name\""),
        Mutation::InvalidNameIgnored => {
            |trap| trap.contains("Invalid { argument: \"name\"") && !trap.contains(HOST_REMOVED)
        }
        Mutation::InvalidValueIgnored => |trap| trap.contains("Invalid { argument: \"value\""),
        Mutation::InvalidUriIgnored => |trap| trap.contains("Invalid { argument: \"uri\""),
        Mutation::HeaderKindIgnored => |trap| trap.contains("UnknownKind { argument: \"header kind\""),
        Mutation::BodyKindIgnored => |trap| trap.contains("UnknownKind { argument: \"body kind\""),
        Mutation::NoRoomIgnored => |trap| trap.contains("NoRoom"),
        Mutation::StatusRangeIgnored => |trap| trap.contains("Status("),
        Mutation::SwitchingIgnored => |trap| in_phase(trap, "(status 101)"),
        Mutation::HostRemovalIgnored => |trap| trap.contains(HOST_REMOVED),
        Mutation::LateRequestChangeIgnored => |trap| in_phase(trap, "the request has already been passed"),
        Mutation::UnbufferedResponseChangeIgnored => |trap| in_phase(trap, "the response can be changed"),
        Mutation::LateRequestReadIgnored => |trap| in_phase(trap, "the request body can be read"),
        Mutation::UnbufferedResponseReadIgnored => |trap| in_phase(trap, "the response body can be read"),
        _ => return None,
    })
}

const HOST_REMOVED: &str = "what: \"header name to remove";

fn in_phase(trap: &str, says: &str) -> bool {
    trap.contains("WrongPhase") && trap.contains(says)
}
