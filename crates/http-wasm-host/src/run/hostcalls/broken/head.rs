//! The request's head, and the status.

use wasmtime::{Caller, Linker};

use crate::abi::MODULE;
use crate::error::Reason;
use crate::host::Host;
use crate::mutation::Mutation;
use crate::run::hostcalls::{Answer, head};
use crate::run::memory;
use crate::run::state::State;

pub(super) fn replace<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
    match mutation {
        Mutation::UriDecoded => replace!(linker, get_uri, |memory, state, buf: u32, limit: u32| -> u32 {
            memory::write_if_fits(memory, &decoded(state.exchange()?.uri()), buf, limit)
        }),
        Mutation::UriWithoutQuery => {
            replace!(linker, get_uri, |memory, state, buf: u32, limit: u32| -> u32 {
                let (path, _) = split_query(state.exchange()?.uri());
                memory::write_if_fits(memory, path, buf, limit)
            })
        }
        Mutation::UriQueryKept => replace!(linker, set_uri, |memory, state, uri: u32, len: u32| -> () {
            let exchange = state.exchange()?;
            let uri = memory::read(memory, "uri", uri, len)?;
            let uri = match split_query(exchange.uri()) {
                (_, Some(query)) if !uri.contains(&b'?') => [uri, b"?", query].concat(),
                _ => uri.to_vec(),
            };
            exchange.set_uri(&uri)
        }),
        Mutation::UriEmptyIgnored => replace!(linker, set_uri, |memory, state, uri: u32, len: u32| -> () {
            if len == 0 { Ok(()) } else { head::set_uri(memory, state, uri, len) }
        }),
        Mutation::UriSlashesMerged => replace!(linker, set_uri, |memory, state, uri: u32, len: u32| -> () {
            let uri = memory::read(memory, "uri", uri, len)?;
            state.exchange()?.set_uri(if uri.starts_with(b"//") { &uri[1..] } else { uri })
        }),
        Mutation::MethodUpperCased => {
            replace!(linker, set_method, |memory, state, method: u32, len: u32| -> () {
                let method = memory::read(memory, "method", method, len)?;
                state.exchange()?.set_method(&method.to_ascii_uppercase())
            })
        }
        Mutation::ProtocolWithoutName => {
            replace!(linker, get_protocol_version, |memory, state, buf: u32, limit: u32| -> u32 {
                let version = state.exchange()?.protocol_version();
                memory::write_if_fits(memory, version.trim_start_matches("HTTP/").as_bytes(), buf, limit)
            })
        }
        Mutation::SourceAddrWithoutPort => {
            replace!(linker, get_source_addr, |memory, state, buf: u32, limit: u32| -> u32 {
                let mut text = [0; 64];
                let addr = state.exchange()?.source_addr(&mut text);
                let end = addr.iter().rposition(|&byte| byte == b':').unwrap_or(addr.len());
                memory::write_if_fits(memory, &addr[..end], buf, limit)
            })
        }
        Mutation::StatusIs200 => {
            replace!(linker, get_status_code, |_memory, state| -> u32 { state.exchange().map(|_| 200) })
        }
        Mutation::StatusNeedsBuffering => replace!(linker, get_status_code, |_memory, state| -> u32 {
            match state.exchange()?.may_read_response() {
                true => head::get_status_code(state),
                false => Err(Reason::Internal("a mutation")),
            }
        }),
        Mutation::StatusAfterWriteLost => {
            replace!(linker, set_status_code, |_memory, state, status: u32| -> () {
                match state.exchange()?.has_written_response() {
                    true => Ok(()),
                    false => head::set_status_code(state, status),
                }
            })
        }
        Mutation::InformationalTraps => {
            replace!(linker, set_status_code, |_memory, state, status: u32| -> () {
                match status {
                    102..=199 => Err(Reason::Status(status)),
                    _ => head::set_status_code(state, status),
                }
            })
        }
        _ => return Ok(()),
    };
    Ok(())
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
