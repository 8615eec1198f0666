//! Loads a guest: from its bytes to a guest that can serve requests.

pub(crate) mod blueprint;
pub(crate) mod builder;
pub(crate) mod inspect;
pub(crate) mod prepare;
pub(crate) mod review;
mod slow;
pub(crate) mod snapshot;
pub(crate) mod startup;
pub(crate) mod waits;
