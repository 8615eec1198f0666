//! The log: on stderr, so that stdout keeps to what was promised there.

use std::io::IsTerminal as _;

use http_wasm_gateway::GuestWords;
use http_wasm_gateway::config::{Log, LogFormat};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::ConfigError;

/// Sets the process's log up; `RUST_LOG` chooses what is logged, the configuration when it is unset, and `info` when neither does.
///
/// # Errors
/// When the choice can't be parsed: better said at once than found out when the log is needed.
pub(crate) fn init(log: &Log) -> Result<(), ConfigError> {
    let (name, filter) = match (std::env::var("RUST_LOG"), &log.filter) {
        (Err(_), Some(filter)) => ("log.filter", filter.clone()),
        (from_env, _) => ("RUST_LOG", from_env.unwrap_or_default()),
    };
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(filter)
        .map_err(|error| ConfigError::LogFilter { name, reason: error.to_string() })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Pretty => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(lines).with(GuestWords::default()).with(filter).init();
    Ok(())
}
