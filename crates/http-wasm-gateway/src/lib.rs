//! A reverse proxy whose routes run [http-wasm](https://http-wasm.io/http-handler-abi/) guests.
//!
//! A [`Config`](config::Config) is read from a file or built in code; a [`Gateway`] is made of it, and serves.

mod admin;
mod backend;
mod body;
pub mod config;
mod control_group;
mod core;
mod descriptors;
mod digest;
mod error;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod generation;
mod guests;
mod http1;
mod inbound;
mod listener;
mod machine;
mod names;
mod observe;
mod proxy;
mod reload;
mod route;
mod signals;
mod stamps;
mod tls;
mod trailers;

pub use self::error::{StartError, plain};
pub use self::gateway::{Bound, Gateway};
pub use self::listener::Endpoint;
pub use self::observe::GuestWords;
pub use self::proxy::UpstreamUrl;
pub use self::reload::{Reloader, Summary};
