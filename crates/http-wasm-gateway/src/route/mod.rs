//! Which route handles a request, and how.

mod answer;
mod handler;
mod host;
mod limits;
mod readings;
mod strip;
mod table;

pub(crate) use self::handler::{Handler, NextHandler};
pub(crate) use self::readings::AmbiguousPath;
pub(crate) use self::table::{Route, Routes};
