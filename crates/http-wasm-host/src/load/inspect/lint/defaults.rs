//! Detects handlers with AssemblyScript's default parameters.
//!
//! An exported function with default parameters reads the number of arguments from a global. `__setArgumentsLength`
//! sets it, and only AssemblyScript's own loader calls that.

use wasmparser::{Operator, Result};

use crate::load::inspect::exports::{HANDLE_REQUEST, HANDLE_RESPONSE};
use crate::load::inspect::graph::Graph;
use crate::warning::{Lint, Warning};

/// The handler that has a default parameter.
pub(super) fn found(graph: &Graph<'_>) -> Result<Option<&'static str>> {
    let Some(setter) = graph.exported("__setArgumentsLength") else { return Ok(None) };
    let mut count = None;
    if let Some(body) = graph.body(setter) {
        for operator in body.get_operators_reader()? {
            if let Operator::GlobalSet { global_index } = operator? {
                count = Some(global_index);
            }
        }
    }
    for handler in [HANDLE_REQUEST, HANDLE_RESPONSE] {
        let Some(body) = graph.exported(handler).and_then(|function| graph.body(function)) else { continue };
        for operator in body.get_operators_reader()? {
            if matches!(operator?, Operator::GlobalGet { global_index } if Some(global_index) == count) {
                return Ok(Some(handler));
            }
        }
    }
    Ok(None)
}

pub(super) fn warning(handler: &str) -> Warning {
    Warning::new(
        Lint::DefaultParameters,
        format!(
            "`{handler}` has a default parameter, and uses the default value instead of what the host \
             passes, because the host doesn't call `__setArgumentsLength`"
        ),
        "declare the parameters of the handlers without default values",
    )
}
