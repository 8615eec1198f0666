//! Checks guests: their files, pins and grants. Whether a module is a valid guest is determined when it is loaded.

use std::collections::{BTreeMap, BTreeSet};

use super::values::{file, name};
use crate::config::fault::Fault;
use crate::config::model::{Guest, GuestSource};
use crate::config::read::{Context, Located};
use crate::digest::sha256;
use crate::error_text::{counted, plain};

/// Returns the names of guests with errors.
pub(in crate::config) fn check(
    guests: &BTreeMap<String, Located<Guest>>,
    context: &mut Context,
) -> BTreeSet<String> {
    let mut faulty = BTreeSet::new();
    for (guest_name, guest) in guests {
        let before = context.fault_count();
        name(guest_name, guest.key_span(), context);
        module(guest, context);
        if let Some(path) = &guest.config_file {
            file(path, "the guest's configuration", context);
        }
        mounts(guest, context);
        for (key, value) in &guest.env {
            if key.is_empty() || key.contains(['=', '\0']) {
                let fault =
                    Fault::new(value.key_span(), format!("invalid name of an environment variable: {key:?}"));
                context.fault(fault.help("a name can't be empty or contain `=` or a null character"));
            }
            no_null(value, "the value of an environment variable", context);
        }
        for arg in &guest.args {
            no_null(arg, "an argument", context);
        }
        if let (Some(warm), Some(idle)) = (&guest.pool.min_warm, &guest.pool.max_idle)
            && warm.value > idle.get()
        {
            let message = format!("`min_warm` ({}) exceeds `max_idle` ({})", warm.value, idle.value);
            context.fault(
                Fault::new(warm.span(), message)
                    .related(idle.span(), "the maximum")
                    .help("lower `min_warm`, or raise `max_idle`"),
            );
        }
        if context.fault_count() > before {
            faulty.insert(guest_name.clone());
        }
    }
    faulty
}

fn module(guest: &Guest, context: &mut Context) {
    let GuestSource::File(path) = &guest.path.value else { return };
    if !guest.path.was_read() {
        return;
    }
    let path = guest.path.clone().map(|_| path.clone());
    let Some(bytes) = file(&path, "the guest", context) else { return };
    let Some(pin) = &guest.sha256 else { return };
    if pin.len() != 64 || !pin.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let found = match pin.chars().count() {
            64 => "other characters".to_owned(),
            length => counted(length, "character"),
        };
        let found = format!("invalid SHA-256: expected 64 hexadecimal digits, found {found}");
        context.fault(Fault::new(pin.span(), found).help("`sha256sum FILE` prints it"));
    } else if let actual = sha256(&bytes)
        && !actual.eq_ignore_ascii_case(pin)
    {
        let fault = Fault::new(pin.span(), format!("the guest's file has a different SHA-256: {actual}"));
        context.fault(fault.help("if the file is the right one, use this value"));
    }
}

/// Guests get strings that end at the first null character.
fn no_null(text: &Located<String>, what: &str, context: &mut Context) {
    if text.contains('\0') {
        context.at(text.span(), format!("{what} can't contain a null character"));
    }
}

fn mounts(guest: &Guest, context: &mut Context) {
    for mount in &guest.mounts {
        let host = &mount.0.host;
        let reason = match std::fs::metadata(host) {
            Ok(found) if found.is_dir() => continue,
            Ok(_) => "not a directory".to_owned(),
            Err(error) => plain(&error),
        };
        context.at(mount.span(), format!("cannot mount {}: {reason}", host.display()));
    }
}
