//! The memory that bodies may use in total while they are held on behalf of exchanges.
//!
//! A [`BodyBudget`] has one [`BodyAccount`] per request, opened with the first byte that is held. Each holder of bytes
//! has a [`Reservation`] for them, which is released when it is dropped. `ledger` decides who gets memory when it is
//! short.

mod budget;
mod ledger;
#[cfg(test)]
mod tests;

pub use self::budget::{BodyAccount, BodyBudget, HeldBytes, Reservation};
pub(crate) use self::ledger::Evictable;
pub use self::ledger::{BodyMemory, NoBodyMemory};
