//! An Envoy between a client and an upstream, all on raw sockets.

mod client;
mod envoy;
mod guest;
mod processor;
mod upstream;

pub(crate) use self::client::{Message, exchange, read_message};
pub(crate) use self::envoy::{Envoy, Settings, module, program, programs};
pub(crate) use self::guest::Wat;
pub(crate) use self::processor::Processor;
pub(crate) use self::upstream::Upstream;
