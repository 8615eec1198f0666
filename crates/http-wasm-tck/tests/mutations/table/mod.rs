//! Which cases each fault must fail: the ID of every failed case contains one of these parts, and each part occurs in
//! one.

mod bodies;
mod flow;
mod head;
mod traps;
mod values;

use crate::host::Fault;

/// All rows, in the order of [`Mutation::ALL`](crate::mutation::Mutation::ALL).
pub(crate) fn table() -> impl Iterator<Item = &'static (Fault, &'static [&'static str])> {
    [traps::ROWS, values::ROWS, head::ROWS, bodies::ROWS, flow::ROWS].into_iter().flatten()
}
