//! Functions for the method, URI, protocol version, source address and status.

use crate::error::Reason;
use crate::host::Host;
use crate::run::memory;
use crate::run::state::State;

pub(super) fn get_method<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    buf: u32,
    buf_limit: u32,
) -> Result<u32, Reason> {
    memory::write_if_fits(memory, state.exchange()?.method(), buf, buf_limit)
}

pub(super) fn set_method<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    method: u32,
    method_len: u32,
) -> Result<(), Reason> {
    let exchange = state.exchange()?;
    exchange.set_method(memory::read(memory, "method", method, method_len)?)
}

pub(super) fn get_uri<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    buf: u32,
    buf_limit: u32,
) -> Result<u32, Reason> {
    memory::write_if_fits(memory, state.exchange()?.uri(), buf, buf_limit)
}

pub(super) fn set_uri<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    uri: u32,
    uri_len: u32,
) -> Result<(), Reason> {
    let exchange = state.exchange()?;
    exchange.set_uri(memory::read(memory, "uri", uri, uri_len)?)
}

pub(super) fn get_protocol_version<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    buf: u32,
    buf_limit: u32,
) -> Result<u32, Reason> {
    memory::write_if_fits(memory, state.exchange()?.protocol_version().as_bytes(), buf, buf_limit)
}

pub(super) fn get_source_addr<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    buf: u32,
    buf_limit: u32,
) -> Result<u32, Reason> {
    let mut text = [0; 64];
    memory::write_if_fits(memory, state.exchange()?.source_addr(&mut text), buf, buf_limit)
}

pub(super) fn get_status_code<H: Host>(state: &mut State<H>) -> Result<u32, Reason> {
    Ok(state.exchange()?.status().into())
}

pub(super) fn set_status_code<H: Host>(state: &mut State<H>, status: u32) -> Result<(), Reason> {
    if (100..=199).contains(&status) && state.suspension.is_abandoned() {
        // Where it would go, there may be another request already.
        return Ok(());
    }
    state.exchange()?.set_status(status)
}
