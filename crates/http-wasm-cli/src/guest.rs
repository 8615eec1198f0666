//! Loading guests.

use http_wasm_tower::{Engine, Guest, GuestBuilder, LoadError};

use crate::config::{Grants, GuestSpec};
use crate::failure::{Failure, plain};

/// The guest that is served when none is named.
const WELCOME: &[u8] = include_bytes!("../../../guests/welcome/welcome.wat");

/// Loads the guest of `spec`.
///
/// # Errors
/// [`Failure::Guest`] when it can't be read, is no valid guest, or doesn't start.
pub(crate) fn load(engine: &Engine, spec: &GuestSpec) -> Result<Guest, Failure> {
    Ok(builder(engine, spec).load_file(&spec.path)?)
}

/// The settings of `spec`, all but its file.
pub(crate) fn builder(engine: &Engine, spec: &GuestSpec) -> GuestBuilder {
    grant(Guest::builder(engine), &spec.grants).config(spec.config.clone())
}

/// Loads the embedded example.
pub(crate) fn load_welcome(engine: &Engine) -> Result<Guest, Failure> {
    Ok(Guest::builder(engine).name("welcome").load(WELCOME)?)
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
        match error {
            LoadError::Engine(_) => Self::Other(error.to_string()),
            LoadError::Read { path, source } => {
                Self::Guest(format!("guest {}: {}", path.display(), plain(&source)))
            }
            error => Self::Guest(error.to_string()),
        }
    }
}
