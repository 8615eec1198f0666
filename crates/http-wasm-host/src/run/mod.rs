//! Runs a guest: its memory, its host functions, and its two calls.

pub(crate) mod call;
pub(crate) mod compute;
pub(crate) mod hook;
pub(crate) mod hostcalls;
pub(crate) mod instance;
#[cfg(feature = "mutations")]
pub(crate) mod intercept;
pub(crate) mod link;
pub(crate) mod memory;
pub(crate) mod pin;
pub(crate) mod shared;
pub(crate) mod state;
pub(crate) mod suspend;
pub(crate) mod wasi;
pub(crate) mod weight;
