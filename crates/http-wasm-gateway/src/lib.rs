//! A reverse proxy whose routes run [http-wasm](https://http-wasm.io/http-handler-abi/) guests.
//!
//! A [`Config`](config::Config) is read from a file or built in code; a [`Gateway`] is made of it, and serves.

mod backend;
mod body;
pub mod config;
mod error;
mod gateway;
mod guests;
mod listener;
mod observe;
mod proxy;
mod route;
mod signals;
mod tls;

pub use self::error::{StartError, plain};
pub use self::gateway::Gateway;
pub use self::listener::Bound;
pub use self::proxy::UpstreamUrl;
