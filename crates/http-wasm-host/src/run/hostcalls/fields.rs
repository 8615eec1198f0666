//! Functions for headers and trailers.

use std::task::Poll;

use tracing::Level;

use crate::abi::{CountLen, HeaderKind};
use crate::error::Reason;
use crate::exchange::{Exchange, can_be_name, has_no_effect};
use crate::host::Host;
use crate::log;
use crate::message::HeaderChange;
use crate::run::memory;
use crate::run::state::State;
use crate::text::printable;

pub(super) fn get_header_names<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    kind: u32,
    buf: u32,
    buf_limit: u32,
) -> Result<Poll<u64>, Reason> {
    let kind = decode(kind)?;
    let Poll::Ready(exchange) = arrived(state, kind)? else { return Ok(Poll::Pending) };
    let mut list = List::default();
    exchange.header_names(kind, |name| list.push(name));
    let count_len = list.write(memory, buf, buf_limit, |rest| exchange.header_names(kind, rest))?;
    Ok(Poll::Ready(count_len.pack()))
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
    // No field can have an invalid name, so there is no need to wait for trailers.
    if !can_be_name(name) {
        return state.exchange().map(|_| Poll::Ready(CountLen::default().pack()));
    }
    let Poll::Ready(exchange) = arrived(state, kind)? else { return Ok(Poll::Pending) };
    let mut list = List::default();
    exchange.header_values(kind, name, |value| list.push(value));
    if list.is_whole() {
        return Ok(Poll::Ready(list.write(memory, buf, buf_limit, |_| {})?.pack()));
    }
    // The result may overwrite the name, which is still needed to find the remaining values.
    let name = name.to_vec();
    let count_len = list.write(memory, buf, buf_limit, |rest| exchange.header_values(kind, &name, rest))?;
    Ok(Poll::Ready(count_len.pack()))
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
    change(memory, state, HeaderChange::Set, kind, (name, name_len), (value, value_len))
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
    change(memory, state, HeaderChange::Add, kind, (name, name_len), (value, value_len))
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
    exchange.change_header(kind, memory::read(memory, "name", name, name_len)?, HeaderChange::Remove)
}

fn change<'m, H: Host>(
    memory: &'m [u8],
    state: &mut State<H>,
    change: impl FnOnce(&'m [u8]) -> HeaderChange<'m>,
    kind: u32,
    name: (u32, u32),
    value: (u32, u32),
) -> Result<(), Reason> {
    let kind = decode(kind)?;
    let exchange = state.exchange()?;
    let name = memory::read(memory, "name", name.0, name.1)?;
    let value = memory::read(memory, "value", value.0, value.1)?;
    exchange.change_header(kind, name, change(value))?;
    if log::enabled(Level::DEBUG) && has_no_effect(name) && value != b"0" {
        let name = printable(name, name.len());
        let what = format!("setting `{name}` has no effect: framing and connections are managed by the host");
        state.guest.log.no_effect(&what);
    }
    Ok(())
}

fn decode(kind: u32) -> Result<HeaderKind, Reason> {
    HeaderKind::from_abi(kind).ok_or_else(|| Reason::UnknownKind { argument: "header kind", value: kind })
}

/// The exchange, once the fields of `kind` have arrived, or the guest can't wait for them.
fn arrived<H: Host>(state: &mut State<H>, kind: HeaderKind) -> Result<Poll<&mut Exchange<H>>, Reason> {
    let (exchange, suspension) = state.exchange_and_suspension()?;
    if kind.is_trailers() {
        let bodies = suspension.engine().body_budget();
        match suspension.poll(|cx| exchange.await_trailers(kind, bodies, cx)) {
            Poll::Ready(known) => known?,
            Poll::Pending => return Ok(Poll::Pending),
        }
    }
    Ok(Poll::Ready(exchange))
}

/// Values to be written to the guest's memory, each followed by a NUL.
struct List<'a> {
    count: usize,
    /// The total number of bytes that they take there.
    len: usize,
    /// The first values. They are remembered, so that in most cases no second look-up is needed.
    first: [&'a [u8]; REMEMBERED],
}

const REMEMBERED: usize = 16;

impl Default for List<'_> {
    #[inline]
    fn default() -> Self {
        Self { count: 0, len: 0, first: [&[]; REMEMBERED] }
    }
}

impl<'a> List<'a> {
    #[inline]
    fn push(&mut self, value: &'a [u8]) {
        if let Some(place) = self.first.get_mut(self.count) {
            *place = value;
        }
        self.count += 1;
        self.len += value.len() + 1;
    }

    /// Whether all values are remembered.
    fn is_whole(&self) -> bool {
        self.count <= REMEMBERED
    }

    /// Writes the values if all of them fit, and returns their number and length. `again` visits them once more if
    /// there are too many to remember.
    #[inline]
    fn write(
        &self,
        memory: &mut [u8],
        buf: u32,
        buf_limit: u32,
        again: impl FnOnce(&mut dyn FnMut(&'a [u8])),
    ) -> Result<CountLen, Reason> {
        let count = u32::try_from(self.count).map_err(|_| Reason::TooLongForGuest)?;
        let len = u32::try_from(self.len).map_err(|_| Reason::TooLongForGuest)?;
        if 0 < len && len <= buf_limit {
            let mut room = memory::slice_mut(memory, "buf", buf, len)?;
            let mut put = |value: &[u8]| {
                // There is room for everything that was counted.
                let (place, rest) = std::mem::take(&mut room).split_at_mut(value.len() + 1);
                place[..value.len()].copy_from_slice(value);
                place[value.len()] = 0;
                room = rest;
            };
            match self.first.get(..self.count) {
                Some(all) => all.iter().for_each(|value| put(value)),
                None => again(&mut |value| put(value)),
            }
        }
        Ok(CountLen { count, len })
    }
}
