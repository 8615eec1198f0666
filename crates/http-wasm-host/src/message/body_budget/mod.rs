//! The memory that bodies may take together while they are held on behalf of exchanges.
//!
//! A [`BodyBudget`] has one [`BodyAccount`] per request, opened with the first byte that is to be held. Whoever holds bytes has a
//! [`Reservation`] for them, which gives them back when it is dropped. Who gets memory when there is too little is decided in
//! `ledger`.

mod budget;
mod ledger;
#[cfg(test)]
mod tests;

pub(crate) use self::budget::Reservation;
pub use self::budget::{BodyAccount, BodyBudget, HeldBytes};
pub(crate) use self::ledger::Evictable;
pub use self::ledger::{BodyMemory, NoBodyMemory};
