//! The request's head, and the status.

use http_wasm_host::{HostCall, Intercepted, Trap};

use super::{BUFFER_RESPONSE, argument, ready, value, write_if_fits};
use crate::broken::Broken;
use crate::mutation::Mutation;

pub(super) fn broken(mutation: Mutation, call: &mut HostCall<'_>) -> Option<Intercepted> {
    Some(match (mutation, call.function, call.args) {
        (Mutation::UriDecoded, "get_uri", &[buf, limit]) => rewritten(call, buf, limit, |uri| decoded(&uri)),
        (Mutation::UriWithoutQuery, "get_uri", &[buf, limit]) => {
            rewritten(call, buf, limit, |uri| split_query(&uri).0.to_vec())
        }
        (Mutation::UriQueryKept, "set_uri", &[uri, len]) => with_old_query(call, uri, len),
        (Mutation::UriEmptyIgnored, "set_uri", &[_, 0]) => ready(0u32),
        (Mutation::UriSlashesMerged, "set_uri", &[uri, len]) => {
            let text = argument(call, uri, len);
            text.and_then(|text| {
                set(call, "set_uri", if text.starts_with(b"//") { &text[1..] } else { &text })
            })
        }
        (Mutation::MethodUpperCased, "set_method", &[method, len]) => argument(call, method, len)
            .and_then(|method| set(call, "set_method", &method.to_ascii_uppercase())),
        (Mutation::ProtocolWithoutName, "get_protocol_version", &[buf, limit]) => {
            rewritten(call, buf, limit, |version| version["HTTP/".len()..].to_vec())
        }
        (Mutation::SourceAddrWithoutPort, "get_source_addr", &[buf, limit]) => {
            rewritten(call, buf, limit, |addr| {
                let end = addr.iter().rposition(|&byte| byte == b':').unwrap_or(addr.len());
                addr[..end].to_vec()
            })
        }
        (Mutation::StatusIs200, "get_status_code", _) => call.proceed().and_then(|_| ready(200u32)),
        (Mutation::StatusNeedsBuffering, "get_status_code", _) => {
            let readable = call
                .host::<Broken>()
                .is_some_and(|host| !host.seen.answered || host.seen.features & BUFFER_RESPONSE != 0);
            if readable { call.proceed() } else { Err(Trap::unfounded()) }
        }
        (Mutation::StatusAfterWriteLost, "set_status_code", _) => {
            let written = call.host::<Broken>().is_some_and(|host| host.seen.response.is_written);
            if written { ready(0u32) } else { call.proceed() }
        }
        (Mutation::InformationalTraps, "set_status_code", &[102..=199]) => Err(Trap::unfounded()),
        _ => return None,
    })
}

/// Writes a value after applying `change`.
fn rewritten(
    call: &mut HostCall<'_>,
    buf: u32,
    limit: u32,
    change: impl FnOnce(Vec<u8>) -> Vec<u8>,
) -> Intercepted {
    let value = change(value(call, call.function)?);
    ready(write_if_fits(call, &value, buf, limit)?)
}

/// Calls a function that sets a value.
fn set(call: &mut HostCall<'_>, function: &str, value: &[u8]) -> Intercepted {
    call.call_on(&mut value.to_vec(), function, &[0, value.len() as u32])
}

fn with_old_query(call: &mut HostCall<'_>, uri: u32, len: u32) -> Intercepted {
    let old = value(call, "get_uri")?;
    let uri = argument(call, uri, len)?;
    let uri = match split_query(&old) {
        (_, Some(query)) if !uri.contains(&b'?') => [&uri, &b"?"[..], query].concat(),
        _ => uri,
    };
    set(call, "set_uri", &uri)
}

fn split_query(uri: &[u8]) -> (&[u8], Option<&[u8]>) {
    match uri.iter().position(|&byte| byte == b'?') {
        Some(at) => (&uri[..at], Some(&uri[at + 1..])),
        None => (uri, None),
    }
}

fn decoded(uri: &[u8]) -> Vec<u8> {
    let mut bytes = uri.iter().copied();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).unwrap_or(0) as u8;
        decoded.push(if byte == b'%' { digit(bytes.next()) << 4 | digit(bytes.next()) } else { byte });
    }
    decoded
}
