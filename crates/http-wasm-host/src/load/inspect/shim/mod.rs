//! Lets a guest be suspended in a host function that is synchronous.
//!
//! An async host function costs several times a synchronous one on each call. So a host function that may have to wait stays
//! synchronous: when it can't answer yet it moves the store's epoch deadline to now and returns all ones. A loop added to
//! the guest calls an empty function then, whose epoch check on entry suspends the fiber, and tries again when resumed.
//! The check on the loop's own back-edge wouldn't do: Cranelift keeps the deadline it compares with in a local.

mod names;
mod plan;
mod rewrite;
#[cfg(test)]
mod runtime_tests;
#[cfg(test)]
mod tests;

use wasm_encoder::reencode::Reencode;
use wasmparser::Parser;

use self::plan::{Plan, ShimError};
use self::rewrite::Rewriter;

/// Rewrites a valid core module so that each use of the imported functions in `points`, pairs of module and name, goes through
/// a loop that calls again, after a pause, while the result is all ones.
///
/// Points that aren't imported are skipped. No index in the module moves. Debug information and what else depends on
/// the place of code is dropped.
///
/// # Errors
///
/// When the module is malformed, or a point has another result than one integer.
pub(crate) fn add_suspension_points(wasm: &[u8], points: &[(&str, &str)]) -> Result<Vec<u8>, ShimError> {
    let plan = Plan::new(wasm, points)?;
    if plan.points.is_empty() {
        return Ok(wasm.to_vec());
    }
    let mut module = wasm_encoder::Module::new();
    Rewriter::new(plan).parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(module.finish())
}
