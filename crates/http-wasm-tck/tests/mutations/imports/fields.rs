//! Headers and trailers.

use std::task::Poll;

use http_wasm_host::{BodyKind, HeaderChange, HostCall, Intercepted, LocalHost as _, Trap};

use super::lists::List;
use super::{REQUEST, REQUEST_TRAILERS, RESPONSE, argument, bytes, names, ready, values};
use crate::broken::{Broken, ReceivedRequest};
use crate::mutation::Mutation;

pub(super) fn broken(mutation: Mutation, call: &mut HostCall<'_>) -> Option<Intercepted> {
    match (call.function, call.args) {
        ("set_header_value" | "add_header_value", &[kind, ..]) => changed(mutation, call, kind),
        ("remove_header", &[kind, name, len]) => removed(mutation, call, kind, name, len),
        ("get_header_names", &[kind, buf, limit]) => match mutation {
            Mutation::NamesRepeated => Some(repeated(call, kind, buf, limit)),
            Mutation::TrailersUnread if kind == 2 || kind == 3 => Some(ready(0u32)),
            _ => None,
        },
        ("get_header_values", &[kind, name, len, ..]) => match mutation {
            Mutation::InvalidLookupTraps => Some(checked(call, name, len)),
            Mutation::NamesCaseSensitive => {
                let upper =
                    bytes(call.memory, name, len).is_some_and(|name| name.iter().any(u8::is_ascii_uppercase));
                upper.then(|| ready(0u32))
            }
            Mutation::TrailersUnread if kind == 2 || kind == 3 => Some(ready(0u32)),
            _ => None,
        },
        _ => None,
    }
}

/// Sets or adds a field.
fn changed(mutation: Mutation, call: &mut HostCall<'_>, kind: u32) -> Option<Intercepted> {
    let instead = match mutation {
        Mutation::SetAdds => Some("add_header_value"),
        Mutation::AddSets if kind < REQUEST_TRAILERS => Some("set_header_value"),
        Mutation::TrailerAddSets if kind >= REQUEST_TRAILERS => Some("set_header_value"),
        _ => None,
    };
    if let Some(function) = instead {
        return Some(call.call(function, call.args));
    }
    let &[_, name, name_len, value, value_len] = call.args else { return None };
    let name = argument(call, name, name_len).ok()?.to_ascii_lowercase();
    let value = argument(call, value, value_len).ok()?;
    let seen = |call: &mut HostCall<'_>, is: fn(&ReceivedRequest) -> bool| {
        call.host::<Broken>().is_some_and(|host| is(&host.seen))
    };
    let is_lost = match mutation {
        Mutation::TrailerChangesIgnored => kind == 2 || kind == 3,
        Mutation::HostIgnored => kind == REQUEST && name == b"host",
        Mutation::LengthZeroIgnored => name == b"content-length",
        Mutation::HeadersAfterWriteLost => kind == RESPONSE && seen(call, |seen| seen.response.is_written),
        Mutation::HeadersAfterStatusLost => {
            kind == RESPONSE && seen(call, |seen| seen.early_status.is_some())
        }
        Mutation::ConnectionHeadersPass => {
            let listed = [&b"keep-alive"[..], b"te", b"proxy-connection"].contains(&&name[..]);
            listed && kind < REQUEST_TRAILERS && {
                let message = if kind == REQUEST { BodyKind::Request } else { BodyKind::Response };
                call.host::<Broken>()
                    .is_some_and(|host| host.change_header(message, &name, HeaderChange::Set(&value)).is_ok())
            }
        }
        _ => false,
    };
    is_lost.then(|| ready(0u32))
}

fn removed(
    mutation: Mutation,
    call: &mut HostCall<'_>,
    kind: u32,
    name: u32,
    len: u32,
) -> Option<Intercepted> {
    match mutation {
        Mutation::InvalidRemovalTraps => Some(checked(call, name, len)),
        Mutation::RemovesFirstOnly => Some(argument(call, name, len).and_then(|name| {
            let rest = values(call, kind, &name)?;
            let removed = call.proceed()?;
            for value in rest.iter().skip(1) {
                let [name_len, value_len] = [name.len(), value.len()].map(|len| len as u32);
                let mut memory = [&name[..], value].concat();
                let _added =
                    call.call_on(&mut memory, "add_header_value", &[kind, 0, name_len, name_len, value_len])?;
            }
            Ok(removed)
        })),
        _ => None,
    }
}

/// Lists a name once for each of its values.
fn repeated(call: &mut HostCall<'_>, kind: u32, buf: u32, limit: u32) -> Intercepted {
    if call.call("get_header_names", &[kind, 0, 0])?.is_pending() {
        return Ok(Poll::Pending);
    }
    let mut repeated = Vec::new();
    for name in names(call, kind)? {
        let count = values(call, kind, &name)?.len().max(1);
        repeated.extend(std::iter::repeat_n(name, count));
    }
    List::of(repeated).write(call, buf, limit)
}

/// Traps on an invalid name.
fn checked(call: &mut HostCall<'_>, name: u32, len: u32) -> Intercepted {
    let name = argument(call, name, len)?;
    match hyper::header::HeaderName::from_bytes(&name) {
        Ok(_) => call.proceed(),
        Err(_) => Err(Trap::unfounded()),
    }
}
