//! Functions that can also be called during start-up: features, configuration and the log.

use tracing::Level;

use crate::abi::{Features, LogLevel};
use crate::error::Reason;
use crate::host::Host;
use crate::log;
use crate::run::memory;
use crate::run::state::State;

pub(super) fn enable_features<H: Host>(state: &mut State<H>, features: u32) -> Result<u32, Reason> {
    let features = Features::from_bits(features);
    let is_early = match state.exchange.ongoing_mut() {
        Some(exchange) => exchange.enable_features(features),
        None => {
            state.features = state.features | features;
            true
        }
    };
    if !is_early && log::enabled(Level::DEBUG) {
        state.guest.log.no_effect(
            "enabling features in handle_response has no effect: enable them at \
             start-up or in handle_request",
        );
    }
    Ok(Features::SUPPORTED.bits())
}

pub(super) fn get_config<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    buf: u32,
    buf_limit: u32,
) -> Result<u32, Reason> {
    memory::write_if_fits(memory, &state.guest.config, buf, buf_limit)
}

pub(super) fn log<H: Host>(
    memory: &mut [u8],
    state: &mut State<H>,
    level: i32,
    message: u32,
    message_len: u32,
) -> Result<(), Reason> {
    let message = memory::read(memory, "message", message, message_len)?;
    if let Some(level) = LogLevel::from_abi(level) {
        state.guest.log.message(to_tracing(level), message);
    }
    Ok(())
}

pub(super) fn log_enabled<H: Host>(_: &mut State<H>, level: i32) -> Result<u32, Reason> {
    Ok(LogLevel::from_abi(level).is_some_and(|level| log::enabled(to_tracing(level))).into())
}

fn to_tracing(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    }
}
