//! An Envoy between a client and an upstream, all on raw sockets.

mod client;
mod envoy;
mod guest;
mod upstream;

pub(crate) use self::client::{Message, exchange};
pub(crate) use self::envoy::{Settings, module, program, programs};
pub(crate) use self::guest::Wat;
pub(crate) use self::upstream::Upstream;
