//! Checks the values of a configuration in context, and the files that they name.

pub(super) mod guests;
mod key_pair;
mod listen;
mod observe;
mod routes;
mod shadow;
mod unused;
mod upstreams;
mod values;

use std::collections::BTreeSet;

use super::model::Config;
use super::read::Context;

/// The names of guests and upstreams with errors.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) guests: BTreeSet<String>,
    pub(super) upstreams: BTreeSet<String>,
}

/// Adds all faults to `context`.
pub(super) fn check(config: &Config, context: &mut Context) -> Checked {
    // Settings that couldn't be read may use what seems to be unused.
    if context.fault_count() == 0 {
        unused::check(config, context);
    }
    routes::check(config, context);
    listen::check(config, context);
    let guests = guests::check(&config.guests, context);
    let upstreams = upstreams::check(&config.upstreams, context);
    observe::check(config, context);
    Checked { guests, upstreams }
}
