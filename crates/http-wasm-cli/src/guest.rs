//! Loading guests.

use std::io::{self, Write as _};

use http_wasm_gateway::StartError;
use http_wasm_tower::{Engine, Guest, GuestBuilder, LoadError};

use crate::args::{Grants, GuestSpec};
use crate::failure::Failure;
use crate::logging::escaped;

/// Loads the guest of `spec`.
///
/// # Errors
/// [`StartError::Guests`] if it can't be read, isn't a valid guest, or doesn't start.
pub(crate) fn load(engine: &Engine, spec: &GuestSpec) -> Result<Guest, Failure> {
    Ok(builder(engine, spec).load_file(&spec.path)?)
}

/// A builder with the settings of `spec`, except for its file.
pub(crate) fn builder(engine: &Engine, spec: &GuestSpec) -> GuestBuilder {
    let builder = spec.lints.allow.iter().fold(Guest::builder(engine), |builder, lint| builder.allow(*lint));
    grant(builder, &spec.grants)
        .strict(spec.lints.strict)
        .limits(spec.limits.clone())
        .config(spec.config.clone())
        .snapshot(spec.snapshot)
}

/// Reports probable problems in how the guest was built, on stderr.
pub(crate) fn print_warnings(guest: &Guest) {
    for warning in &guest.facts().warnings {
        print_warning(&format!("{warning} (`{}`)", warning.lint));
    }
}

/// Reports a warning on stderr.
pub(crate) fn print_warning(text: &str) {
    // If stderr is gone, there is nowhere to report that.
    let _ = writeln!(io::stderr().lock(), "warning: {}", escaped(text));
}

fn grant(mut builder: GuestBuilder, grants: &Grants) -> GuestBuilder {
    for var in &grants.env {
        builder = builder.env(&var.key, &var.value);
    }
    for mount in &grants.mounts {
        builder = builder.mount(mount.clone());
    }
    builder
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        StartError::from(error).into()
    }
}
