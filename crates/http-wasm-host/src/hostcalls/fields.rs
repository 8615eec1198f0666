//! Headers and trailers.

use std::task::Poll;

use crate::abi::{CountLen, HeaderKind};
use crate::error::Reason;
use crate::exchange::{Change, Exchange, check_name};
use crate::host::Host;
use crate::memory;
use crate::state::State;

/// No server holds a header with a longer name, so none has to be copied to look for it.
const LONGEST_NAME: usize = 65_535;

pub(super) fn get_header_names<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    kind: u32,
    buf: u32,
    buf_limit: u32,
) -> Result<Poll<u64>, Reason> {
    let kind = decode(kind)?;
    let Poll::Ready(exchange) = arrived(state, kind)? else { return Ok(Poll::Pending) };
    let list = write_list(memory, buf, buf_limit, |list| {
        exchange.header_names(kind, |name| list.push(name));
    })?;
    Ok(Poll::Ready(list.pack()))
}

pub(super) fn get_header_values<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    kind: u32,
    name: u32,
    name_len: u32,
    buf: u32,
    buf_limit: u32,
) -> Result<Poll<u64>, Reason> {
    let kind = decode(kind)?;
    let name = memory::read(memory, "name", name, name_len)?;
    check_name(name)?;
    if name.len() > LONGEST_NAME {
        return Ok(Poll::Ready(CountLen::default().pack()));
    }
    // The answer may be written over the name, so that can't stay in the guest's memory.
    let mut short = [0; 64];
    let long;
    let name = match short.get_mut(..name.len()) {
        Some(copy) => {
            copy.copy_from_slice(name);
            copy
        }
        None => {
            long = name.to_vec();
            &long[..]
        }
    };
    let Poll::Ready(exchange) = arrived(state, kind)? else { return Ok(Poll::Pending) };
    let list = write_list(memory, buf, buf_limit, |list| {
        exchange.header_values(kind, name, |value| list.push(value));
    })?;
    Ok(Poll::Ready(list.pack()))
}

pub(super) fn set_header_value<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    kind: u32,
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
) -> Result<(), Reason> {
    change(memory, state, Change::Set, kind, (name, name_len), (value, value_len))
}

pub(super) fn add_header_value<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    kind: u32,
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
) -> Result<(), Reason> {
    change(memory, state, Change::Add, kind, (name, name_len), (value, value_len))
}

pub(super) fn remove_header<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    kind: u32,
    name: u32,
    name_len: u32,
) -> Result<(), Reason> {
    let kind = decode(kind)?;
    let exchange = state.exchange()?;
    exchange.remove_header(kind, memory::read(memory, "name", name, name_len)?)
}

fn change<H: Host>(
    memory: &[u8],
    state: &mut State<H>,
    change: Change,
    kind: u32,
    name: (u32, u32),
    value: (u32, u32),
) -> Result<(), Reason> {
    let kind = decode(kind)?;
    let exchange = state.exchange()?;
    let name = memory::read(memory, "name", name.0, name.1)?;
    let value = memory::read(memory, "value", value.0, value.1)?;
    exchange.change_header(change, kind, name, value)
}

fn decode(kind: u32) -> Result<HeaderKind, Reason> {
    HeaderKind::from_abi(kind).ok_or(Reason::UnknownKind { argument: "header kind", value: kind })
}

/// The exchange, once the fields of `kind` are known as far as this guest may wait for them.
fn arrived<H: Host>(state: &mut State<H>, kind: HeaderKind) -> Result<Poll<&mut Exchange<H>>, Reason> {
    let (exchange, suspension) = state.exchange_and_suspension()?;
    if kind.is_trailers() {
        match suspension.poll(|cx| exchange.await_trailers(kind, cx)) {
            Poll::Ready(known) => known?,
            Poll::Pending => return Ok(Poll::Pending),
        }
    }
    Ok(Poll::Ready(exchange))
}

/// Writes values, each with a NUL behind it, if all of them fit; answers how many and how long they are.
/// `visit` is called twice: to count, and to write.
fn write_list(
    memory: &mut [u8],
    buf: u32,
    buf_limit: u32,
    mut visit: impl FnMut(&mut List<'_>),
) -> Result<CountLen, Reason> {
    let mut counted = List { count: 0, len: 0, room: &mut [] };
    visit(&mut counted);
    let count = counted.count;
    let len = u32::try_from(counted.len).map_err(|_| Reason::TooLongForGuest)?;
    if 0 < len && len <= buf_limit {
        let room = memory::slice_mut(memory, "buf", buf, len)?;
        visit(&mut List { count: 0, len: 0, room });
    }
    Ok(CountLen { count, len })
}

struct List<'m> {
    count: u32,
    len: usize,
    /// Where to write; empty while values are only counted.
    room: &'m mut [u8],
}

impl List<'_> {
    fn push(&mut self, value: &[u8]) {
        let end = self.len + value.len();
        if let Some(room) = self.room.get_mut(self.len..=end) {
            room[..value.len()].copy_from_slice(value);
            room[value.len()] = 0;
        }
        self.count += 1;
        self.len = end + 1;
    }
}
