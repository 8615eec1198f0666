//! Lists of headers.

use std::task::Poll;

use wasmtime::{Caller, Linker};

use crate::abi::{CountLen, HeaderKind, MODULE};
use crate::error::Reason;
use crate::host::Host;
use crate::mutation::Mutation;
use crate::run::hostcalls::{Answer, fields};
use crate::run::memory;
use crate::run::state::State;

pub(super) fn replace<H: Host>(linker: &mut Linker<State<H>>, mutation: Mutation) -> wasmtime::Result<()> {
    match list_spoiler(mutation) {
        Some((lists, spoil)) => spoil_lists(linker, lists, spoil),
        None => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Lists {
    Names,
    Values,
    Both,
}

/// A list on its way to the guest: the bytes of its values with their NULs, and what is answered.
pub(super) struct List {
    values: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    count: u32,
    len: u32,
}

impl List {
    pub(super) fn of(values: Vec<Vec<u8>>) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| [value, &b"\0"[..]].concat()).collect();
        Self { count: values.len() as u32, len: bytes.len() as u32, bytes, values }
    }

    pub(super) fn write(self, memory: &mut [u8], buf: u32, limit: u32) -> Result<Poll<u64>, Reason> {
        memory::write_if_fits(memory, &self.bytes, buf, limit)?;
        Ok(Poll::Ready(CountLen { count: self.count, len: self.len }.pack()))
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
        spoil(List::of(values), &mut limit).write(memory, buf, limit)
    }
    if lists != Lists::Values {
        replace!(linker, get_header_names, |memory, state, kind: u32, buf: u32, limit: u32| -> u64 {
            arrived!(fields::get_header_names(memory, state, kind, 0, 0));
            let names = names(state, kind)?;
            write(memory, spoil, names, buf, limit)
        });
    }
    if lists != Lists::Names {
        replace_values!(linker, |memory, state, kind, name, len, buf, limit| {
            arrived!(fields::get_header_values(memory, state, kind, name, len, 0, 0));
            let name = memory::read(memory, "name", name, len)?.to_vec();
            let values = values(state, kind, &name)?;
            write(memory, spoil, values, buf, limit)
        });
    }
    Ok(())
}

pub(super) fn names<H: Host>(state: &mut State<H>, kind: u32) -> Result<Vec<Vec<u8>>, Reason> {
    let mut names = Vec::new();
    if let Some(kind) = HeaderKind::from_abi(kind) {
        state.exchange()?.header_names(kind, |name| names.push(name.to_vec()));
    }
    Ok(names)
}

pub(super) fn values<H: Host>(state: &mut State<H>, kind: u32, name: &[u8]) -> Result<Vec<Vec<u8>>, Reason> {
    let mut values = Vec::new();
    if let Some(kind) = HeaderKind::from_abi(kind) {
        state.exchange()?.header_values(kind, name, |value| values.push(value.to_vec()));
    }
    Ok(values)
}
