//! Lets a synchronous host function suspend its guest.
//!
//! An async host function makes each call several times as expensive. So a host function that may have to wait stays
//! synchronous: if it has no result yet, it moves the store's epoch deadline to now and returns all ones. A loop that
//! is added to the guest then calls an empty function, whose epoch check on entry suspends the fiber, and tries again
//! when resumed. The check on the loop's own back-edge wouldn't work, because Cranelift keeps the deadline that it
//! compares with in a local variable.

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
use crate::symbols::Shift;

/// Rewrites a valid core module so that each use of the imported functions in `points`, pairs of module and name, goes
/// through a loop: while the result is all ones, it pauses and calls the function again.
///
/// Points that aren't imported are skipped. All indices in the module stay the same. Functions stay unchanged byte for
/// byte, except for the redirected indices, so that little of their code moves. Debug information and other sections
/// that depend on code positions are dropped.
///
/// # Errors
///
/// If the module is malformed, or a point returns more than one integer. The import of a point that returns nothing
/// gets a result, an i32, so that it can request the pause.
pub(crate) fn add_suspension_points(wasm: &[u8], points: &[(&str, &str)]) -> Result<Shimmed, ShimError> {
    let plan = Plan::new(wasm, points)?;
    if plan.points.is_empty() {
        return Ok(Shimmed { wasm: wasm.to_vec(), moved: Vec::new() });
    }
    let mut module = wasm_encoder::Module::new();
    let mut rewriter = Rewriter::new(plan);
    rewriter.parse_core_module(&mut module, Parser::new(0), wasm)?;
    Ok(Shimmed { wasm: module.finish(), moved: rewriter.into_moved() })
}

/// A module with suspension points.
#[derive(Debug)]
pub(crate) struct Shimmed {
    pub(crate) wasm: Vec<u8>,
    /// Which code has moved within its function.
    pub(crate) moved: Vec<Shift>,
}
