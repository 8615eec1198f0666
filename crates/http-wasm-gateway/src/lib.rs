//! A reverse proxy whose routes run [http-wasm](https://http-wasm.io/http-handler-abi/) guests.
//!
//! A [`Config`](config::Config) is read from a file or built in code. A [`Gateway`] is built from it, and serves.

mod accept;
mod admin;
mod backend;
mod blocking;
mod body;
mod code_cache;
pub mod config;
mod connection_options;
mod control_group;
mod core;
mod descriptors;
mod digest;
mod error;
mod error_text;
mod exchange;
mod field_values;
mod fingerprint;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod generation;
mod guests;
mod http1;
mod inspect;
mod known_fields;
mod listener;
mod names;
mod observe;
mod path;
mod process_state;
mod proxy;
mod random;
pub mod recording;
mod redaction;
mod reload;
mod requested_host;
mod route;
mod signals;
mod stage;
#[cfg(test)]
mod testing;
mod time;
mod tls;
mod trailers;
mod turns;
mod unread_budget;
mod upstream_url;

pub use self::admin::STATUS_PAGE_STYLE;
pub use self::backend::echo;
pub use self::error::StartError;
pub use self::error_text::{counted, plain};
pub use self::exchange::GuestLogLayer;
pub use self::gateway::{Bound, Gateway};
pub use self::guests::{LOADING_TARGET, PreparedGuest};
pub use self::inspect::{BodyPart, InspectedExchange, Inspector, Message, Side};
pub use self::listener::Endpoint;
pub use self::reload::{Reloader, Summary};
pub use self::requested_host::{RequestedHost, check_host};
pub use self::upstream_url::UpstreamUrl;
