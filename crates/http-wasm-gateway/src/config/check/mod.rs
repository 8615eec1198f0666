//! What the values of a configuration mean together, and the files that they name.

pub(super) mod guests;
mod key_pair;
mod listen;
mod observe;
mod routes;
mod shadow;
mod upstreams;
mod values;

use super::model::Config;
use super::read::Context;

/// Adds to `context` all that is wrong.
pub(super) fn check(config: &Config, context: &mut Context) {
    routes::check(config, context);
    listen::check(config, context);
    guests::check(&config.guests, context);
    upstreams::check(&config.upstreams, context);
    observe::check(config, context);
}
