//! Detects a `handle_response` that changes or reads the response without `buffer_response` being enabled.

use crate::abi::{FUNCTIONS, Features, Function, MODULE, Phase};
use crate::exchange::allows;
use crate::load::inspect::exports::{HANDLE_REQUEST, HANDLE_RESPONSE};
use crate::load::inspect::graph::Graph;
use crate::warning::{Lint, Warning};

/// The functions that `handle_response` calls and that trap there without `buffer_response`, if `handle_request` can't
/// enable the feature.
///
/// Only direct calls count, since an indirect call may reach any function.
pub(super) fn needed(graph: &Graph<'_>) -> Vec<&'static Function> {
    let Some(handle_response) = graph.exported(HANDLE_RESPONSE) else { return Vec::new() };
    let response = graph.reached_directly([handle_response]);
    let request = graph.reached(graph.exported(HANDLE_REQUEST));
    if request.imports(graph).any(|import| import.module == MODULE && import.name == "enable_features") {
        return Vec::new();
    }
    let called =
        |name: &str| response.imports(graph).any(|import| import.module == MODULE && import.name == name);
    FUNCTIONS.iter().filter(|function| needs_buffering(function) && called(function.name)).collect()
}

fn needs_buffering(function: &Function) -> bool {
    is_missing(function, Features::NONE) && !is_missing(function, Features::BUFFER_RESPONSE)
}

/// Whether `function` traps in `handle_response` of a guest that enabled these `features` during start-up.
pub(super) fn is_missing(function: &Function, features: Features) -> bool {
    !allows(function.access, Phase::Response, features)
}

pub(super) fn warning(function: &Function) -> Warning {
    Warning::new(
        Lint::LateBuffering,
        format!(
            "`handle_response` calls `{}`, which fails unless `buffer_response` was enabled before, and nothing \
             enables it",
            function.name
        ),
        "call `enable_features(2)` when the guest starts, or in `handle_request`; in `handle_response` it is \
         too late",
    )
}
