//! Loading the guests of a configuration.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread::available_parallelism;

use futures_util::{StreamExt as _, stream};
use http_wasm_tower::{Engine, Guest, GuestBuilder, LoadError, Observer};
use sha2::{Digest as _, Sha256};

use crate::config::{self, GuestSource, Located};
use crate::error::{StartError, guest_fault, plain};
use crate::observe::{Monitor, Source};

/// Guests by name. One that is optional and could not be loaded is `None`.
pub(crate) type Loaded = HashMap<String, Option<Guest>>;

/// Loads all guests, several at a time; what they do is told to `monitor`.
///
/// # Errors
/// When one that isn't optional can't be loaded; the faults of all are told.
pub(crate) async fn load(
    engine: &Engine,
    guests: &BTreeMap<String, Located<config::Guest>>,
    monitor: Option<&Monitor>,
) -> Result<Loaded, StartError> {
    let at_once = available_parallelism().map_or(1, Into::into);
    let jobs = guests.iter().map(|(name, guest)| {
        let (engine, name, guest) = (engine.clone(), name.clone(), guest.value.clone());
        let observer = monitor.map(|monitor| monitor.guest(&name));
        async move {
            let optional = guest.optional;
            // Compiling takes up to seconds, which must not hold up what else this runtime does.
            let job = {
                let name = name.clone();
                tokio::task::spawn_blocking(move || load_one(&engine, &name, &guest, observer))
            };
            let result = job
                .await
                .unwrap_or_else(|_| Err(format!("guest {name}: loading it failed for no known reason")));
            (name, optional, result)
        }
    });
    let results: Vec<_> = stream::iter(jobs).buffered(at_once).collect().await;

    let (mut loaded, mut faults) = (Loaded::new(), Vec::new());
    for (name, optional, result) in results {
        match result {
            Ok(guest) => drop(loaded.insert(name, Some(guest))),
            Err(fault) if optional => {
                tracing::error!(
                    guest = name,
                    "{fault}; its routes are answered with 503, for it is optional"
                );
                if let Some(monitor) = monitor {
                    monitor.recent.add(Source::Guest, &name, "load", &fault);
                }
                loaded.insert(name, None);
            }
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(loaded) } else { Err(StartError::Guests(faults)) }
}

fn load_one(
    engine: &Engine,
    name: &str,
    guest: &config::Guest,
    observer: Option<Arc<dyn Observer>>,
) -> Result<Guest, String> {
    let bytes = match &guest.path.value {
        GuestSource::Embedded(_, bytes) => (*bytes).to_owned(),
        GuestSource::File(path) => std::fs::read(path)
            .map_err(|source| guest_fault(&LoadError::Read { path: path.clone(), source }))?,
    };
    if let Some(pin) = &guest.sha256
        && !sha256(&bytes).eq_ignore_ascii_case(pin)
    {
        return Err(format!("guest {name}: its file has another SHA-256 than the configuration says"));
    }
    let mut builder = Guest::builder(engine).name(name).config(config_bytes(name, guest)?);
    if let Some(observer) = observer {
        builder = builder.observer(observer);
    }
    for arg in &guest.args {
        builder = builder.arg(arg);
    }
    for (key, value) in &guest.env {
        builder = builder.env(key, &value.value);
    }
    for mount in &guest.mounts {
        builder = builder.mount(mount.0.clone());
    }
    apply_guest_settings(builder, guest).load(&bytes).map_err(|error| guest_fault(&error))
}

/// Hands a guest's settings over to the core.
fn apply_guest_settings(builder: GuestBuilder, guest: &config::Guest) -> GuestBuilder {
    builder
        .limits((&guest.limits).into())
        .pool((&guest.pool).into())
        .on_failure(guest.on_failure.into())
        .snapshot(guest.snapshot.into())
}

fn config_bytes(name: &str, guest: &config::Guest) -> Result<Vec<u8>, String> {
    match (&guest.config, &guest.config_file) {
        (Some(text), _) => Ok(text.0.clone().into_bytes()),
        (None, None) => Ok(Vec::new()),
        (None, Some(path)) => std::fs::read(&path.value)
            .map_err(|error| format!("guest {name}: configuration {}: {}", path.display(), plain(&error))),
    }
}

/// The SHA-256 of these bytes, as `sha256sum` prints it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_sha256_is_printed_as_sha256sum_does() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(super::sha256(b""), empty);
    }
}
