//! What can go wrong: at load ([`LoadError`]), and while a guest serves ([`Error`]).

mod failure;
mod kind;
mod load;
mod reason;

pub use self::failure::Error;
pub use self::kind::{ErrorKind, FailureResponse};
pub use self::load::LoadError;
pub use self::reason::{BoxError, Refused};
pub(crate) use self::reason::{CallError, Reason, Stop};
