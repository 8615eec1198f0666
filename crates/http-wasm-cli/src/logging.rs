//! The log: on stderr, so that stdout keeps to what was promised there.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::args::LogFormat;
use crate::config::ConfigError;

/// Sets the process's log up; `RUST_LOG` chooses what is logged, `info` when unset.
///
/// # Errors
/// When `RUST_LOG` can't be parsed: better said at once than found out when the log is needed.
pub(crate) fn init(format: LogFormat) -> Result<(), ConfigError> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(std::env::var("RUST_LOG").unwrap_or_default())
        .map_err(|error| ConfigError::LogFilter(error.to_string()))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Pretty => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
