//! Functions for bodies.

use std::task::Poll;

use crate::abi::{BodyKind, EofLen};
use crate::bodies::Stream;
use crate::error::Reason;
use crate::host::Host;
use crate::run::memory;
use crate::run::state::State;

pub(super) fn read_body<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    kind: u32,
    buf: u32,
    buf_limit: u32,
) -> Result<Poll<u64>, Reason> {
    let kind = decode(kind)?;
    let (exchange, suspension) = state.exchange_and_suspension()?;
    if buf_limit == 0 {
        return Err(Reason::NoRoom);
    }
    let buf = memory::slice_mut(memory, "buf", buf, buf_limit)?;
    if let Some(read) = exchange.read_on(kind, buf) {
        return Ok(Poll::Ready(read.pack()));
    }
    let memory = suspension.engine().body_budget();
    match suspension.poll(|cx| exchange.read_body(kind, buf, memory, cx)) {
        Poll::Ready(read) => Ok(Poll::Ready(EofLen::pack(read?))),
        Poll::Pending => Ok(Poll::Pending),
    }
}

pub(super) fn write_body<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    kind: u32,
    body: u32,
    body_len: u32,
) -> Result<(), Reason> {
    let kind = decode(kind)?;
    let (exchange, suspension) = state.exchange_and_suspension()?;
    let data = memory::read(memory, "body", body, body_len)?;
    exchange.write_body(kind, data, suspension.engine().body_budget())
}

/// The same for a guest that may have to wait in it.
pub(super) fn write_streamed<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    kind: u32,
    body: u32,
    body_len: u32,
) -> Result<Poll<u64>, Reason> {
    if state.guest.stream == Stream::Off {
        return write_body(memory, state, kind, body, body_len).map(|()| Poll::Ready(0));
    }
    let kind = decode(kind)?;
    let (exchange, suspension) = state.exchange_and_suspension()?;
    let data = memory::read(memory, "body", body, body_len)?;
    let (memory, background) = (suspension.engine().body_budget(), suspension.engine().background());
    match suspension.poll(|cx| exchange.write_streamed(kind, data, memory, background, cx)) {
        Poll::Ready(written) => written.map(|()| Poll::Ready(0)),
        Poll::Pending => Ok(Poll::Pending),
    }
}

fn decode(kind: u32) -> Result<BodyKind, Reason> {
    BodyKind::from_abi(kind).ok_or_else(|| Reason::UnknownKind { argument: "body kind", value: kind })
}
