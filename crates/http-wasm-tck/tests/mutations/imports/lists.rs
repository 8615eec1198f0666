//! Lists of headers.

use std::task::Poll;

use http_wasm_host::{HostCall, Intercepted, Trap};

use super::{argument, names, ready, values, write_if_fits};
use crate::mutation::Mutation;

pub(super) fn broken(mutation: Mutation, call: &mut HostCall<'_>) -> Option<Intercepted> {
    let (lists, corrupt) = corruption(mutation)?;
    match (call.function, lists, call.args) {
        ("get_header_names", Lists::Names | Lists::Both, &[kind, buf, limit]) => {
            Some(corrupted(call, &[kind, 0, 0], corrupt, buf, limit, |call| names(call, kind)))
        }
        ("get_header_values", Lists::Values | Lists::Both, &[kind, name, len, buf, limit]) => {
            Some(corrupted(call, &[kind, name, len, 0, 0], corrupt, buf, limit, |call| {
                let name = argument(call, name, len)?;
                values(call, kind, &name)
            }))
        }
        _ => None,
    }
}

/// Writes a list after applying `corrupt`. First makes a call with the arguments `first`, which traps or waits if it
/// must.
fn corrupted(
    call: &mut HostCall<'_>,
    first: &[u32],
    corrupt: Corruption,
    buf: u32,
    mut limit: u32,
    values: impl FnOnce(&mut HostCall<'_>) -> Result<Vec<Vec<u8>>, Trap>,
) -> Intercepted {
    if call.call(call.function, first)?.is_pending() {
        return Ok(Poll::Pending);
    }
    let values = values(call)?;
    corrupt(List::of(values), &mut limit).write(call, buf, limit)
}

enum Lists {
    Names,
    Values,
    Both,
}

/// A list for the guest: the bytes of its values with their NULs, and the result.
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

    pub(super) fn write(self, call: &mut HostCall<'_>, buf: u32, limit: u32) -> Intercepted {
        write_if_fits(call, &self.bytes, buf, limit)?;
        ready(u64::from(self.count) << 32 | u64::from(self.len))
    }

    fn map(self, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Self {
        Self::of(self.values.into_iter().map(change).collect())
    }
}

type Corruption = fn(List, &mut u32) -> List;

fn corruption(mutation: Mutation) -> Option<(Lists, Corruption)> {
    let corruption: (_, Corruption) = match mutation {
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
        // Extra bytes stand for the rest of the buffer.
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
    Some(corruption)
}
