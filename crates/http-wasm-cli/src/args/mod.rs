//! Arguments that several commands share, and errors in arguments.

mod choice;
mod error;
mod grants;
mod guest;
mod lints;
mod number;

pub(crate) use self::choice::choice;
pub(crate) use self::error::ArgsError;
pub(crate) use self::grants::{EnvVar, GrantArgs, Grants};
pub(crate) use self::guest::{GivenArgs, GuestSpec, guest_config};
pub(crate) use self::lints::LintArgs;
pub(crate) use self::number::{parse_count, parse_size, parse_time, time_from};
