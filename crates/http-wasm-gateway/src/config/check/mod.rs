//! What the values of a configuration mean together, and the files that they name.

mod guests;
mod key_pair;
mod listen;
mod observe;
mod routes;
mod shadow;
mod upstreams;

use std::path::Path;

use super::fault::Fault;
use super::model::Config;
use super::read::{Context, Located};
use crate::error::plain;

/// Adds to `context` all that is wrong.
pub(super) fn check(config: &Config, context: &mut Context) {
    routes::check(config, context);
    listen::check(config, context);
    guests::check(&config.guests, context);
    upstreams::check(&config.upstreams, context);
    observe::check(config, context);
}

/// Names are labels of metrics and parts of log lines, so they are kept plain.
fn name(name: &str, at: std::ops::Range<usize>, context: &mut Context) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        let fault = Fault::new(at, format!("{name:?} is no name that can be used here"));
        context.fault(fault.help("names are letters, digits, `-`, `_` and `.`, 64 at most"));
    }
}

/// The bytes of a file that the configuration names; `what` it is.
fn file(path: &Located<impl AsRef<Path>>, what: &str, context: &mut Context) -> Option<Vec<u8>> {
    let shown = path.value.as_ref();
    match std::fs::read(shown) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let reason = plain(&error);
            context.at(path.span(), format!("{what} {} can't be read: {reason}", shown.display()));
            None
        }
    }
}
