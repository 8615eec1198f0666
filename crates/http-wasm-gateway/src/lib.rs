//! A reverse proxy whose routes run [http-wasm](https://http-wasm.io/http-handler-abi/) guests.

mod backend;
mod body;
mod chain;
mod error;
mod listener;
mod serve;
mod signals;

pub use self::backend::{Upstream, UpstreamUrl};
pub use self::error::{ServeError, plain};
pub use self::serve::{Serve, serve};
