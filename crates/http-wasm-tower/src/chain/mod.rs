//! Guests in front of a handler, and one exchange through them.

mod call;
mod exchange;
mod forward;
mod guest;
mod observer;
mod passed;
mod settings;
mod streamed;
mod writing;

pub use self::call::ChainFuture;
pub(crate) use self::exchange::Exchange;
pub(crate) use self::forward::Forwarded;
pub use self::guest::{ChainGuest, GuestCell};
pub use self::observer::{ChainObserver, GuestObserver};
pub(crate) use self::passed::PassedGuests;
pub use self::settings::Chain;
