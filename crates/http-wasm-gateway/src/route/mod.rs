//! Selects the route of a request, and handles the request.

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
