//! Checks that several parts of a configuration share.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use crate::config::fault::Fault;
use crate::config::read::{Context, Located};
use crate::error_text::plain;

/// Names are used as labels of metrics and in log lines, so they are restricted.
pub(super) fn name(name: &str, at: Range<usize>, context: &mut Context) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        let fault = Fault::new(at, format!("invalid name {name:?}"));
        context.fault(fault.help("a name has up to 64 letters, digits, `-`, `_` and `.`"));
    }
}

/// Reads a file that the configuration refers to. `what` describes it in errors.
pub(super) fn file(path: &Located<impl AsRef<Path>>, what: &str, context: &mut Context) -> Option<Vec<u8>> {
    let shown = path.value.as_ref();
    match std::fs::read(shown) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let reason = plain(&error);
            let fault = Fault::new(path.span(), format!("cannot read {what} {}: {reason}", shown.display()));
            context.fault(match error.kind() {
                ErrorKind::NotFound => {
                    fault.help("relative paths are relative to the directory of the configuration")
                }
                _ => fault,
            });
            None
        }
    }
}
