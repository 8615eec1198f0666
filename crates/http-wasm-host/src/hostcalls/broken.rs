//! Host functions that break a rule; see [`crate::mutation`].

use std::task::Poll;

use wasmtime::{Caller, Linker};

use super::{Answer, body, fields, head, instance};
use crate::abi::{BodyKind, CountLen, EofLen, Features, HeaderKind, LogLevel, MODULE};
use crate::error::Reason;
use crate::host::Host;
use crate::memory;
use crate::mutation::Mutation;
use crate::state::State;

/// Puts a broken function in the place of the one that is registered.
macro_rules! replace {
    ($linker:ident, $name:ident, |$memory:ident, $state:ident $(, $arg:ident: $ty:ty)*| -> $result:ty $body:block) => {
        $linker.func_wrap(
            MODULE,
            stringify!($name),
            move |mut caller: Caller<'_, State<H>> $(, $arg: $ty)*| -> wasmtime::Result<$result> {
                let answer = memory::split(&mut caller).and_then(|($memory, $state)| $body);
                Answer::finish(answer, stringify!($name), &mut caller)
            },
        )?
    };
}

/// The value if it is there; waits with the caller if not.
macro_rules! arrived {
    ($poll:expr) => {
        match $poll? {
            Poll::Ready(value) => value,
            Poll::Pending => return Ok(Poll::Pending),
        }
    };
}

/// Replaces what `mutation` breaks, if that is a matter of host functions.
pub(crate) fn replace_imports<H: Host>(
    linker: &mut Linker<State<H>>,
    mutation: Mutation,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    if let Some(forgiven) = forgiven(mutation) {
        forgive(linker, forgiven)?;
    }
    if let Some(write) = value_writer(mutation) {
        write_values(linker, write)?;
    }
    if let Some((kind, spoil)) = list_spoiler(mutation) {
        spoil_lists(linker, kind, spoil)?;
    }
    replace_head(linker, mutation)?;
    replace_fields(linker, mutation)?;
    replace_instance(linker, mutation)?;
    replace_bodies(linker, mutation)
}

// Traps that don't come.

type Forgiven = fn(&Reason) -> bool;

fn forgiven(mutation: Mutation) -> Option<Forgiven> {
    Some(match mutation {
        Mutation::WriteFaultIgnored => |r| matches!(r, Reason::OutOfBounds { argument: "buf", .. }),
        Mutation::ReadFaultIgnored => {
            |r| matches!(r, Reason::OutOfBounds { argument, .. } if *argument != "buf")
        }
        Mutation::EmptyMethodIgnored => |r| matches!(r, Reason::Empty { argument: "method" }),
        Mutation::IllegalMethodIgnored => |r| matches!(r, Reason::Illegal { argument: "method", .. }),
        Mutation::EmptyNameIgnored => |r| matches!(r, Reason::Empty { argument: "name" }),
        Mutation::IllegalNameIgnored => |r| matches!(r, Reason::Illegal { what: "header name", .. }),
        Mutation::IllegalValueIgnored => |r| matches!(r, Reason::Illegal { argument: "value", .. }),
        Mutation::IllegalUriIgnored => |r| matches!(r, Reason::Illegal { argument: "uri", .. }),
        Mutation::HeaderKindIgnored => |r| matches!(r, Reason::UnknownKind { argument: "header kind", .. }),
        Mutation::BodyKindIgnored => |r| matches!(r, Reason::UnknownKind { argument: "body kind", .. }),
        Mutation::NoRoomIgnored => |r| matches!(r, Reason::NoRoom),
        Mutation::StatusRangeIgnored => |r| matches!(r, Reason::Status(_)),
        Mutation::SwitchingIgnored => |r| phase(r, "a guest can't switch"),
        Mutation::HostRemovalIgnored => {
            |r| matches!(r, Reason::Illegal { what, .. } if what.starts_with("header to remove"))
        }
        Mutation::LateRequestChangeIgnored => |r| phase(r, "the request has gone"),
        Mutation::UnbufferedResponseChangeIgnored => |r| phase(r, "the response can be changed"),
        Mutation::LateRequestReadIgnored => |r| phase(r, "the request body can be read"),
        Mutation::UnbufferedResponseReadIgnored => |r| phase(r, "the response body can be read"),
        _ => return None,
    })
}

fn phase(reason: &Reason, says: &str) -> bool {
    matches!(reason, Reason::WrongPhase(text) if text.starts_with(says))
}

fn forgive<H: Host>(linker: &mut Linker<State<H>>, forgiven: Forgiven) -> wasmtime::Result<()> {
    macro_rules! forgiving {
        ($($module:ident::$name:ident($($arg:ident),*) -> $result:ty, $instead:expr;)*) => {$(
            replace!(linker, $name, |memory, state $(, $arg: u32)*| -> $result {
                match $module::$name(memory, state $(, $arg)*) {
                    Err(reason) if forgiven(&reason) => Ok($instead),
                    result => result,
                }
            });
        )*};
    }
    const AT_END: u64 = EofLen { eof: true, len: 0 }.pack();
    forgiving! {
        head::get_method(buf, buf_limit) -> u32, 0;
        head::get_uri(buf, buf_limit) -> u32, 0;
        head::get_protocol_version(buf, buf_limit) -> u32, 0;
        head::get_source_addr(buf, buf_limit) -> u32, 0;
        head::set_method(method, method_len) -> (), ();
        head::set_uri(uri, uri_len) -> (), ();
        fields::get_header_names(kind, buf, buf_limit) -> u64, Poll::Ready(0);
        fields::get_header_values(kind, name, name_len, buf, buf_limit) -> u64, Poll::Ready(0);
        fields::set_header_value(kind, name, name_len, value, value_len) -> (), ();
        fields::add_header_value(kind, name, name_len, value, value_len) -> (), ();
        fields::remove_header(kind, name, name_len) -> (), ();
        body::read_body(kind, buf, buf_limit) -> u64, Poll::Ready(AT_END);
        body::write_body(kind, body, body_len) -> (), ();
    }
    replace!(linker, set_status_code, |_memory, state, status: u32| -> () {
        match head::set_status_code(state, status) {
            Err(reason) if forgiven(&reason) => Ok(()),
            result => result,
        }
    });
    replace!(linker, log, |memory, state, level: i32, message: u32, message_len: u32| -> () {
        match instance::log(memory, state, level, message, message_len) {
            Err(reason) if forgiven(&reason) => Ok(()),
            result => result,
        }
    });
    Ok(())
}

// Single values.

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

// Lists.

#[derive(Clone, Copy, PartialEq)]
enum Lists {
    Names,
    Values,
    Both,
}

/// A list on its way to the guest: the bytes of its values with their NULs, and what is answered.
struct List {
    values: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    count: u32,
    len: u32,
}

impl List {
    fn of(values: Vec<Vec<u8>>) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| [value, &b"\0"[..]].concat()).collect();
        Self { count: values.len() as u32, len: bytes.len() as u32, bytes, values }
    }

    fn map(self, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Self {
        Self::of(self.values.into_iter().map(change).collect())
    }
}

type ListSpoiler = fn(List, &mut u32) -> List;

fn list_spoiler(mutation: Mutation) -> Option<(Lists, ListSpoiler)> {
    let spoiler: (_, ListSpoiler) = match mutation {
        Mutation::ListTruncated => (Lists::Both, |mut list, limit| {
            list.bytes.truncate(*limit as usize);
            list
        }),
        Mutation::ListSeparated => (Lists::Both, |mut list, _| {
            list.bytes.pop();
            list.len = list.len.saturating_sub(1);
            list
        }),
        Mutation::ListLengthWithoutNuls => (Lists::Both, |mut list, _| {
            list.len -= list.count;
            list
        }),
        Mutation::ListCountIsOne => (Lists::Both, |mut list, _| {
            list.count = list.count.min(1);
            list
        }),
        Mutation::ListExactFitRefused => (Lists::Both, |list, limit| {
            *limit = limit.saturating_sub(1);
            list
        }),
        // Bytes that nobody asked for stand for the rest of the buffer.
        Mutation::ListBufferChecked => (Lists::Both, |mut list, limit| {
            let whole = (*limit as usize).min(1 << 26);
            if list.bytes.len() < whole {
                list.bytes.resize(whole, 0);
            }
            list
        }),
        Mutation::NamesCapitalised => (Lists::Names, |list, _| {
            list.map(|mut name| {
                name[..1].make_ascii_uppercase();
                name
            })
        }),
        Mutation::NamesSorted => (Lists::Names, |mut list, _| {
            list.values.sort();
            List::of(list.values)
        }),
        Mutation::NamesWithoutHost => (Lists::Names, |mut list, _| {
            list.values.retain(|name| name != b"host");
            List::of(list.values)
        }),
        Mutation::ValuesFirstOnly => (Lists::Values, |mut list, _| {
            list.values.truncate(1);
            List::of(list.values)
        }),
        Mutation::ValuesJoined => (Lists::Values, |list, _| match list.values.is_empty() {
            true => list,
            false => List::of(vec![list.values.join(&b", "[..])]),
        }),
        Mutation::ValuesLossy => (Lists::Values, |list, _| {
            list.map(|value| String::from_utf8_lossy(&value).into_owned().into_bytes())
        }),
        Mutation::ValuesEmptyIsNone => (Lists::Values, |mut list, _| {
            list.values.retain(|value| !value.is_empty());
            List::of(list.values)
        }),
        Mutation::ValuesNoneIsEmpty => (Lists::Values, |mut list, _| {
            if list.values.is_empty() {
                list.values.push(Vec::new());
            }
            List::of(list.values)
        }),
        _ => return None,
    };
    Some(spoiler)
}

fn spoil_lists<H: Host>(
    linker: &mut Linker<State<H>>,
    lists: Lists,
    spoil: ListSpoiler,
) -> wasmtime::Result<()> {
    fn write(
        memory: &mut [u8],
        spoil: ListSpoiler,
        values: Vec<Vec<u8>>,
        buf: u32,
        mut limit: u32,
    ) -> Result<Poll<u64>, Reason> {
        let List { bytes, count, len, .. } = spoil(List::of(values), &mut limit);
        memory::write_if_fits(memory, &bytes, buf, limit)?;
        Ok(Poll::Ready(CountLen { count, len }.pack()))
    }
    if lists != Lists::Values {
        replace!(linker, get_header_names, |memory, state, kind: u32, buf: u32, limit: u32| -> u64 {
            arrived!(fields::get_header_names(memory, state, kind, 0, 0));
            let names = names(state, kind)?;
            write(memory, spoil, names, buf, limit)
        });
    }
    if lists != Lists::Names {
        replace!(linker, get_header_values, |memory,
                                             state,
                                             kind: u32,
                                             name: u32,
                                             len: u32,
                                             buf: u32,
                                             limit: u32|
         -> u64 {
            arrived!(fields::get_header_values(memory, state, kind, name, len, 0, 0));
            let name = memory::read(memory, "name", name, len)?.to_vec();
            let values = values(state, kind, &name)?;
            write(memory, spoil, values, buf, limit)
        });
    }
    Ok(())
}

fn names<H: Host>(state: &mut State<H>, kind: u32) -> Result<Vec<Vec<u8>>, Reason> {
    let mut names = Vec::new();
    if let Some(kind) = HeaderKind::from_abi(kind) {
        state.exchange()?.header_names(kind, |name| names.push(name.to_vec()));
    }
    Ok(names)
}

fn values<H: Host>(state: &mut State<H>, kind: u32, name: &[u8]) -> Result<Vec<Vec<u8>>, Reason> {
    let mut values = Vec::new();
    if let Some(kind) = HeaderKind::from_abi(kind) {
        state.exchange()?.header_values(kind, name, |value| values.push(value.to_vec()));
    }
    Ok(values)
}

// The request's head, and the status.

fn replace_head<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
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

// Headers and trailers.

fn replace_fields<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
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
                let with: fn(&mut H, u32, &[u8], &[u8]) -> bool = $with;
                match with(&mut *state.exchange()?.host, kind, text, bytes) {
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
        Mutation::ConnectionHeadersPass => intercept!(|host, kind, name, value| {
            let listed =
                [&b"keep-alive"[..], b"te", b"proxy-connection"].contains(&&name.to_ascii_lowercase()[..]);
            listed && kind < 2 && {
                let message = if kind == 0 { BodyKind::Request } else { BodyKind::Response };
                host.set_header(message, name, value).is_ok()
            }
        }),
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
            replace!(linker, get_header_values, |memory,
                                                 state,
                                                 kind: u32,
                                                 name: u32,
                                                 len: u32,
                                                 buf: u32,
                                                 limit: u32|
             -> u64 {
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
                let list = List::of(repeated);
                memory::write_if_fits(memory, &list.bytes, buf, limit)?;
                Ok(Poll::Ready(CountLen { count: list.count, len: list.len }.pack()))
            });
        }
        Mutation::TrailersUnread => {
            replace!(linker, get_header_names, |memory, state, kind: u32, buf: u32, limit: u32| -> u64 {
                match kind {
                    2 | 3 => Ok(Poll::Ready(0)),
                    _ => fields::get_header_names(memory, state, kind, buf, limit),
                }
            });
            replace!(linker, get_header_values, |memory,
                                                 state,
                                                 kind: u32,
                                                 name: u32,
                                                 len: u32,
                                                 buf: u32,
                                                 limit: u32|
             -> u64 {
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

// Features and log.

fn replace_instance<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
    match mutation {
        Mutation::FeaturesEchoed => {
            replace!(linker, enable_features, |_memory, state, features: u32| -> u32 {
                instance::enable_features(state, features).map(|_| features)
            })
        }
        Mutation::FeaturesIgnored => {
            replace!(linker, enable_features, |_memory, _state, _features: u32| -> u32 {
                Ok(Features::SUPPORTED.bits())
            })
        }
        Mutation::FeaturesStick => {
            replace!(linker, enable_features, |_memory, state, features: u32| -> u32 {
                state.features = state.features | Features::from_bits(features);
                instance::enable_features(state, features)
            })
        }
        Mutation::FeaturesLate => replace!(linker, enable_features, |_memory, state, features: u32| -> u32 {
            if let Some(exchange) = &mut state.exchange {
                exchange.force_features(Features::from_bits(features));
            }
            instance::enable_features(state, features)
        }),
        Mutation::LogLevelTraps => {
            replace!(linker, log, |memory, state, level: i32, message: u32, len: u32| -> () {
                match LogLevel::from_abi(level) {
                    None => Err(Reason::Internal("a mutation")),
                    Some(_) => instance::log(memory, state, level, message, len),
                }
            })
        }
        Mutation::LogEnabledIsTwo => {
            replace!(linker, log_enabled, |_memory, _state, _level: i32| -> u32 { Ok(2) })
        }
        _ => return Ok(()),
    };
    Ok(())
}

// Bodies.

fn replace_bodies<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
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
