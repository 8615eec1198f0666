//! `handle_response` that changes or reads a response although `buffer_response` isn't enabled.

use crate::abi::{Features, MODULE};
use crate::load::inspect::exports::{HANDLE_REQUEST, HANDLE_RESPONSE};
use crate::load::inspect::graph::Graph;
use crate::warning::{Lint, Warning};

const READ_BODY: &str = "read_body";

/// The functions that trap in `handle_response` without `buffer_response`.
const NEED: [&str; 6] =
    ["set_status_code", "write_body", "set_header_value", "add_header_value", "remove_header", READ_BODY];

/// The first of these functions that `handle_response` calls, if `handle_request` can't enable the feature.
///
/// Only direct calls count: an indirect call may lead anywhere.
pub(super) fn needed(graph: &Graph<'_>) -> Option<&'static str> {
    let response = graph.reached_directly([graph.exported(HANDLE_RESPONSE)?]);
    let request = graph.reached([graph.exported(HANDLE_REQUEST)?]);
    if request.imports(graph).any(|import| import.module == MODULE && import.name == "enable_features") {
        return None;
    }
    let called =
        |name: &str| response.imports(graph).any(|import| import.module == MODULE && import.name == name);
    NEED.into_iter().find(|name| called(name))
}

/// Whether a guest that enabled these `features` when it started can't call `function` in `handle_response`.
pub(super) fn is_missing(function: &str, features: Features) -> bool {
    // It may be the request's body, which can be read without.
    let reads_request = function == READ_BODY && features.contains(Features::BUFFER_REQUEST);
    !features.contains(Features::BUFFER_RESPONSE) && !reads_request
}

pub(super) fn warning(function: &str) -> Warning {
    Warning::new(
        Lint::LateBuffering,
        format!(
            "`handle_response` calls `{function}`, which fails unless `buffer_response` was enabled before, and \
             nothing enables it"
        ),
        "call `enable_features(2)` when the guest starts, or in `handle_request`; in `handle_response` it changes \
         nothing any more",
    )
}
