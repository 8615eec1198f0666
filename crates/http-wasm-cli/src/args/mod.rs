//! Arguments that several commands share, and what is wrong with arguments.

mod error;
mod grants;
mod guest;
mod lints;
mod number;
mod snapshot;

pub(crate) use self::error::ArgsError;
pub(crate) use self::grants::{GrantArgs, Grants};
pub(crate) use self::guest::{GuestSpec, guest_config};
pub(crate) use self::lints::LintArgs;
pub(crate) use self::number::{parse_count, parse_size, seconds_from};
pub(crate) use self::snapshot::SnapshotMode;
