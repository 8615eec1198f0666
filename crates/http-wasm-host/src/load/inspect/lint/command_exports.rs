//! Detects exports that the linker has wrapped as if each call were a separate program.
//!
//! If a module was linked as a command and no `_start` runs its constructors, each export runs them before its own
//! code, and the destructors after it.

use wasmparser::{Operator, Result};

use crate::load::inspect::exports::{HANDLE_REQUEST, HANDLE_RESPONSE};
use crate::load::inspect::graph::Graph;
use crate::warning::{Lint, Warning};

const CONSTRUCTORS: &str = "__wasm_call_ctors";

pub(super) const TRAP_HINT: &str = "the guest's constructors run before each call and its destructors after \
     it, which can cause this trap in C++: link with `-mexec-model=reactor`, or export an `_initialize` that \
     calls `__wasm_call_ctors`";

pub(super) fn warning() -> Warning {
    Warning::new(
        Lint::CommandExports,
        "the guest was linked as a command, so its constructors run before each handler, and its destructors \
         after it: what `handle_request` leaves in memory may be lost when `handle_response` starts",
        "link it as a reactor, whose constructors run once for each instance (clang, wasi-sdk and Zig: \
         `-mexec-model=reactor`; Rust: export an \
         `_initialize` that calls `__wasm_call_ctors`)",
    )
}

/// Whether the handlers run constructors that have an effect.
pub(super) fn found(graph: &Graph<'_>) -> Result<bool> {
    let (Some(request), Some(response)) = (graph.exported(HANDLE_REQUEST), graph.exported(HANDLE_RESPONSE))
    else {
        return Ok(false);
    };
    let constructors = if graph.has_names() {
        graph.names().find(|(name, _)| *name == CONSTRUCTORS).map(|(_, function)| function)
    } else {
        graph.exported(CONSTRUCTORS)
    };
    let (request, response) = (calls(graph, request)?, calls(graph, response)?);
    let (Some(&first), Some(&second)) = (request.first(), response.first()) else { return Ok(false) };
    let same = first == second && request.len() > 1 && response.len() > 1;
    let run = match constructors {
        Some(constructors) => first == constructors && second == constructors,
        // Without names, the shape alone must suffice.
        None => same && !graph.has_names(),
    };
    Ok(run && has_own_constructors(graph, first))
}

/// The functions that this function calls, if it only passes its parameters on. Empty if it does anything else.
fn calls(graph: &Graph<'_>, function: u32) -> Result<Vec<u32>> {
    let mut calls = Vec::new();
    let Some(body) = graph.body(function) else { return Ok(calls) };
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Call { function_index } => calls.push(function_index),
            Operator::LocalGet { .. } | Operator::End => {}
            _ => return Ok(Vec::new()),
        }
    }
    Ok(calls)
}

/// Whether there are constructors besides those of the C library, which may run any number of times.
fn has_own_constructors(graph: &Graph<'_>, constructors: u32) -> bool {
    let is_library = |function| {
        let name = graph.name(function).unwrap_or_default();
        name.starts_with("__wasilibc_")
            || name.starts_with("__wasm_")
            || matches!(name, "__wasi_init_tp" | "__init_ssp" | "dummy")
    };
    let called = graph.called_by(constructors);
    if called.is_empty() {
        // The constructors have been inlined.
        return graph.does_something(constructors);
    }
    called.iter().any(|function| !is_library(*function) && graph.does_something(*function))
}
