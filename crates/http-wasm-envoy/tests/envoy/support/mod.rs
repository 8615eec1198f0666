//! An Envoy between a client and an upstream, all on raw sockets.

mod abuse;
mod client;
mod envoy;
mod guest;
mod http2;
mod inventory;
mod live;
mod processor;
mod upstream;

pub(crate) use self::abuse::{ABUSES, PATHS, abuse, routes as abuse_routes, upstream as abuse_upstream};
pub(crate) use self::client::{Message, chunked, exchange, read_message, read_until, request};
pub(crate) use self::envoy::{Envoy, Settings, can_stream_requests, module, program, programs, search_path};
pub(crate) use self::guest::Wat;
pub(crate) use self::http2::{Http2Upstream, Outgoing, exchange_http2};
pub(crate) use self::inventory::SHOWS_INVENTORY;
pub(crate) use self::live::{Live, LiveRequest, LiveUpstream, Receiver};
pub(crate) use self::processor::Processor;
pub(crate) use self::upstream::Upstream;
