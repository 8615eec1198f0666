//! An Envoy between a client and an upstream, all on raw sockets.

mod client;
mod envoy;
mod guest;
mod processor;
mod upstream;

pub(crate) use self::client::{Message, chunked, exchange, read_message, read_until, request};
pub(crate) use self::envoy::{Envoy, Settings, module, program, programs, search_path};
pub(crate) use self::guest::Wat;
pub(crate) use self::processor::Processor;
pub(crate) use self::upstream::Upstream;
