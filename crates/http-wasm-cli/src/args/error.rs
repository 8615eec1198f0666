//! Errors in a command line.

use std::fmt;
use std::path::PathBuf;

use http_wasm_gateway::config::Faults;
use thiserror::Error;

/// Arguments that can't be used, or a file that they name.
#[derive(Debug, Error)]
pub(crate) enum ArgsError {
    #[error(
        "{configs} --guest-config but only {guests} --guest: the n-th --guest-config belongs to the n-th \
         --guest"
    )]
    MoreConfigsThanGuests { guests: usize, configs: usize },

    #[error(
        "there is nothing to serve: {} doesn't exist; name the guest, or the command that builds it: \
         http-wasm dev GUEST --build COMMAND", path.display()
    )]
    NothingToServe { path: PathBuf },

    #[error("no guest: use --guest FILE, or --config FILE with a configuration")]
    NoGuestForEnvoy,

    #[error("--upstream can't be used with `ext-proc`: Envoy forwards the requests to its own upstream")]
    UpstreamOfEnvoy,

    #[error("--record can't be used with `ext-proc`: exchanges with Envoy aren't recorded")]
    RecordOfEnvoy,

    #[error(
        "no route of the configuration has `ext_proc`; add ext_proc = {{}} to the route with the guests that \
         Envoy needs"
    )]
    NoRouteForEnvoy,

    #[error("--guest-config @{}: {reason}", path.display())]
    ConfigFile { path: PathBuf, reason: String },

    #[error("--mount {}: {reason}", path.display())]
    MountDirectory { path: PathBuf, reason: String },

    #[error("--request {}: {reason}", path.display())]
    RequestFile { path: PathBuf, reason: String },

    #[error("{flag} {value}: {reason}")]
    Flag { flag: &'static str, value: String, reason: String },

    #[error(
        "{name} is not a valid log filter: {reason}; expected a level, or levels by target, as in \
         \"info,http_wasm_gateway=debug\""
    )]
    LogFilter { name: &'static str, reason: String },

    /// `config check --strict`.
    #[error("configuration {file}: {count}, which --strict treats as errors")]
    Warnings { file: String, count: String },

    #[error(transparent)]
    File(#[from] Faults),
}

impl ArgsError {
    /// An invalid value of a flag.
    pub(crate) fn flag(flag: &'static str, value: impl fmt::Display, reason: String) -> Self {
        Self::Flag { flag, value: value.to_string(), reason }
    }
}
