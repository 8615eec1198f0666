//! Headers and trailers.

use std::task::Poll;

use wasmtime::{Caller, Linker};

use super::lists::{List, names, values};
use crate::abi::{BodyKind, HeaderKind, MODULE};
use crate::error::Reason;
use crate::exchange::{Exchange, can_be_name};
use crate::host::Host;
use crate::mutation::Mutation;
use crate::run::hostcalls::{Answer, fields};
use crate::run::memory;
use crate::run::state::State;

pub(super) fn replace<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
    /// Replaces `set_header_value` and `add_header_value`, each with what calls the real ones under the names given.
    macro_rules! change {
        ($as_set:ident, $as_add:ident, $when:expr) => {{
            change!(@one set_header_value, $as_set, $when);
            change!(@one add_header_value, $as_add, $when);
        }};
        (@one $name:ident, $instead:ident, $when:expr) => {
            replace!(linker, $name, |memory, state, kind: u32, name: u32, name_len: u32, value: u32, value_len: u32| -> () {
                let broken: fn(u32) -> bool = $when;
                let function = if broken(kind) { fields::$instead } else { fields::$name };
                function(memory, state, kind, name, name_len, value, value_len)
            });
        };
    }
    /// Replaces them by a function of the name, the value and the exchange; `None` calls the real one.
    macro_rules! intercept {
        ($with:expr) => {{
            intercept!(@one set_header_value, $with);
            intercept!(@one add_header_value, $with);
        }};
        (@one $name:ident, $with:expr) => {
            replace!(linker, $name, |memory, state, kind: u32, name: u32, name_len: u32, value: u32, value_len: u32| -> () {
                let (text, bytes) = (memory::read(memory, "name", name, name_len)?, memory::read(memory, "value", value, value_len)?);
                let with: fn(&mut Exchange<H>, u32, &[u8], &[u8]) -> bool = $with;
                match with(state.exchange()?, kind, text, bytes) {
                    true => Ok(()),
                    false => fields::$name(memory, state, kind, name, name_len, value, value_len),
                }
            });
        };
    }
    match mutation {
        Mutation::SetAdds => change!(add_header_value, add_header_value, |_| true),
        Mutation::AddSets => change!(set_header_value, set_header_value, |kind| kind < 2),
        Mutation::TrailerAddSets => change!(set_header_value, set_header_value, |kind| kind >= 2),
        Mutation::TrailerChangesIgnored => {
            intercept!(|_, kind, _, _| kind == 2 || kind == 3);
        }
        Mutation::HostIgnored => {
            intercept!(|_, kind, name, _| kind == 0 && name.eq_ignore_ascii_case(b"host"))
        }
        Mutation::LengthZeroIgnored => {
            intercept!(|_, _, name, _| name.eq_ignore_ascii_case(b"content-length"))
        }
        Mutation::HeadersAfterWriteLost => {
            intercept!(|exchange, kind, _, _| kind == 1 && exchange.has_written_response())
        }
        Mutation::HeadersAfterStatusLost => {
            intercept!(|exchange, kind, _, _| kind == 1 && exchange.has_early_status())
        }
        Mutation::ConnectionHeadersPass => intercept!(|exchange, kind, name, value| {
            let listed =
                [&b"keep-alive"[..], b"te", b"proxy-connection"].contains(&&name.to_ascii_lowercase()[..]);
            listed && kind < 2 && {
                let message = if kind == 0 { BodyKind::Request } else { BodyKind::Response };
                exchange.host.set_header(message, name, value).is_ok()
            }
        }),
        Mutation::IllegalLookupTraps => {
            replace_values!(linker, |memory, state, kind, name, len, buf, limit| {
                check_name(memory, name, len)?;
                fields::get_header_values(memory, state, kind, name, len, buf, limit)
            });
        }
        Mutation::IllegalRemovalTraps => {
            replace!(linker, remove_header, |memory, state, kind: u32, name: u32, len: u32| -> () {
                check_name(memory, name, len)?;
                fields::remove_header(memory, state, kind, name, len)
            });
        }
        Mutation::RemovesFirstOnly => {
            replace!(linker, remove_header, |memory, state, kind: u32, name: u32, len: u32| -> () {
                let text = memory::read(memory, "name", name, len)?.to_vec();
                let rest = values(state, kind, &text)?;
                fields::remove_header(memory, state, kind, name, len)?;
                for value in rest.iter().skip(1) {
                    let kind = HeaderKind::from_abi(kind).ok_or(Reason::NoRoom)?;
                    state.exchange()?.change_header(crate::exchange::Change::Add, kind, &text, value)?;
                }
                Ok(())
            });
        }
        Mutation::NamesCaseSensitive => {
            replace_values!(linker, |memory, state, kind, name, len, buf, limit| {
                let upper = memory::read(memory, "name", name, len)?.iter().any(u8::is_ascii_uppercase);
                match upper {
                    true => Ok(Poll::Ready(0)),
                    false => fields::get_header_values(memory, state, kind, name, len, buf, limit),
                }
            });
        }
        Mutation::NamesRepeated => {
            replace!(linker, get_header_names, |memory, state, kind: u32, buf: u32, limit: u32| -> u64 {
                arrived!(fields::get_header_names(memory, state, kind, 0, 0));
                let mut repeated = Vec::new();
                for name in names(state, kind)? {
                    let count = values(state, kind, &name)?.len().max(1);
                    repeated.extend(std::iter::repeat_n(name, count));
                }
                List::of(repeated).write(memory, buf, limit)
            });
        }
        Mutation::TrailersUnread => {
            replace!(linker, get_header_names, |memory, state, kind: u32, buf: u32, limit: u32| -> u64 {
                match kind {
                    2 | 3 => Ok(Poll::Ready(0)),
                    _ => fields::get_header_names(memory, state, kind, buf, limit),
                }
            });
            replace_values!(linker, |memory, state, kind, name, len, buf, limit| {
                match kind {
                    2 | 3 => Ok(Poll::Ready(0)),
                    _ => fields::get_header_values(memory, state, kind, name, len, buf, limit),
                }
            });
        }
        _ => {}
    }
    Ok(())
}

fn check_name(memory: &[u8], name: u32, len: u32) -> Result<(), Reason> {
    let name = memory::read(memory, "name", name, len)?;
    if can_be_name(name) { Ok(()) } else { Err(Reason::illegal("name", "header name", name)) }
}
