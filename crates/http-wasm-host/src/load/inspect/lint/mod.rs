//! Detects what is probably wrong with how a valid guest was built, beyond its imports and exports.
//!
//! A wrong warning costs more trust than a missing one, so each lint looks for something that correct guests don't
//! have. [`probe`](crate::guest::probe) finds out whether a guest does nothing at all; this module decides which guests
//! to probe.

mod buffering;
mod command_exports;
mod defaults;
mod go_functions;
mod start_code;
#[cfg(test)]
mod tests;
mod verdict;

use wasmparser::Result;

use self::start_code::StartCode;
pub(crate) use self::verdict::Verdict;
use super::Producer;
use super::exports::{HANDLE_REQUEST, HANDLE_RESPONSE};
use super::graph::Graph;
use crate::abi::{Features, Function, MODULE};

/// Facts about the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct LintFacts {
    start_code: StartCode,
    command_exports: bool,
    /// Functions that `handle_response` calls and that need a feature.
    needs_buffering: Vec<&'static Function>,
    default_parameter: Option<&'static str>,
    /// Whether a handler may call a function of `http_handler`.
    reaches_host: bool,
}

/// How a guest responded to the test request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probed {
    /// It called no function of `http_handler`, for the request or for its response.
    Silent,
    /// It called a function, or failed.
    Active,
    /// It couldn't be tested.
    Unknown,
}

impl LintFacts {
    pub(super) fn of(graph: &Graph<'_>, producers: &[Producer]) -> Result<Self> {
        let handlers =
            || [HANDLE_REQUEST, HANDLE_RESPONSE].into_iter().filter_map(|name| graph.exported(name));
        let reached = graph.reached(handlers());
        Ok(Self {
            start_code: StartCode::of(graph, &reached, producers),
            command_exports: command_exports::found(graph)?,
            needs_buffering: buffering::needed(graph),
            default_parameter: defaults::found(graph)?,
            reaches_host: reached.imports(graph).any(|import| import.module == MODULE),
        })
    }

    /// Whether the guest should be tested with a request.
    pub(crate) fn needs_probe(&self) -> bool {
        self.start_code.is_suspicious()
    }

    /// The possible cause of a trap, in parentheses after its message.
    pub(crate) fn trap_hint(&self) -> Option<&'static str> {
        self.command_exports.then_some(command_exports::TRAP_HINT)
    }

    /// The verdict on a guest that enabled `features` during start-up.
    pub(crate) fn judge(&self, features: Features, probed: Probed) -> Verdict {
        let mut verdict = Verdict::default();
        let silent = match probed {
            Probed::Silent => true,
            Probed::Active => false,
            Probed::Unknown => !self.reaches_host,
        };
        self.start_code.judge(silent, &mut verdict);
        if self.command_exports {
            verdict.warnings.push(command_exports::warning());
        }
        let mut needing = self.needs_buffering.iter();
        if let Some(function) = needing.find(|function| buffering::is_missing(function, features)) {
            verdict.warnings.push(buffering::warning(function));
        }
        if let Some(handler) = self.default_parameter {
            verdict.warnings.push(defaults::warning(handler));
        }
        verdict
    }
}
