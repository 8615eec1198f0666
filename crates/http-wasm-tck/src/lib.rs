//! A conformance kit for hosts of http-wasm guests.
//!
//! The runner ([`run`]) sends requests to the host under test, which has the conformance guest ([`guest`]) loaded and
//! forwards to the kit's [`backend`]. Each [`case`] defines what is sent, what the guest does (a [`script`] in a
//! request header) and what is expected at the guest, at the backend and at the client.

pub mod backend;
pub mod case;
pub mod cases;
mod client;
pub mod guest;
mod payload;
pub mod run;
pub mod script;
mod text;
mod wire;

pub use self::payload::Payload;
pub use self::wire::Framing;
