//! Loads the guests of a configuration.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, stream};
use http_wasm_tower::{Engine, Guest, GuestBuilder, Limits, LoadError, Observer, Snapshot, Warning};

use crate::config::{self, GuestSource, Located};
use crate::digest::{Digest, json, sha256};
use crate::error::{StartError, guest_fault};
use crate::error_text::plain;
use crate::inspect::{Inspector, InstanceTracer};
use crate::recording::{GuestOrigin, GuestSecrets, GuestTracer, Recorder};

/// The target of events about how many guests have been loaded, with the fields `loaded` and `total`.
pub const LOADING_TARGET: &str = "http_wasm_gateway::guests::loading";

/// How long loading all guests may take before these events are emitted.
const PROGRESS_DELAY: Duration = Duration::from_secs(1);

/// Guests by name.
#[derive(Default)]
pub(crate) struct LoadedGuests(HashMap<String, Entry>);

/// The observers of guests.
pub(crate) trait GuestMonitor: Send + Sync {
    /// The observer for the guest with this name.
    fn observer(&self, guest: &str) -> Arc<dyn Observer>;

    /// Called with the reason why an optional guest can't be loaded.
    fn failed_to_load(&self, guest: &str, reason: &str);
}

/// A guest, and what it was built from. `None` if it is optional and couldn't be loaded.
#[derive(Clone)]
struct Entry {
    digest: Digest,
    guest: Option<LoadedGuest>,
    /// The copy whose exchanges are recorded, if there is a recorder.
    recorded: Option<RecordedGuest>,
    /// The guest's observer. It is also kept for a guest that couldn't be loaded, so that what it has observed isn't
    /// lost.
    _observer: Option<Arc<dyn Observer>>,
}

/// A copy of a guest for recorded exchanges. Its instances are followed from their creation on.
#[derive(Clone)]
struct RecordedGuest {
    guest: Guest,
    /// Of the recorder.
    recorder_digest: [u8; 32],
}

/// A guest with its origin, as operators see it.
#[derive(Debug, Clone)]
pub(crate) struct LoadedGuest {
    pub(crate) guest: Guest,
    /// SHA-256 of its file, in hexadecimal digits.
    pub(crate) sha256: String,
    pub(crate) since: SystemTime,
}

impl LoadedGuests {
    /// The guest with this name, if it exists and could be loaded.
    pub(crate) fn get(&self, name: &str) -> Option<&Guest> {
        self.loaded(name).map(|loaded| &loaded.guest)
    }

    /// The copy of that guest for exchanges that are recorded.
    pub(crate) fn recorded(&self, name: &str) -> Option<&Guest> {
        self.0.get(name)?.recorded.as_ref().map(|recorded| &recorded.guest)
    }

    /// The same, with its origin.
    pub(crate) fn loaded(&self, name: &str) -> Option<&LoadedGuest> {
        self.0.get(name)?.guest.as_ref()
    }

    /// What is probably wrong with how each guest was built, with its name.
    pub(crate) fn warnings(&self) -> Vec<(String, Warning)> {
        let warnings = self.0.iter().flat_map(|(name, entry)| {
            let warnings = entry.guest.iter().flat_map(|loaded| &loaded.guest.facts().warnings);
            warnings.map(|warning| (name.clone(), warning.clone()))
        });
        warnings.collect()
    }

    /// How many of these guests `other` also has.
    pub(crate) fn shared_with(&self, other: &Self) -> usize {
        let same = |(name, entry): &(&String, &Entry)| {
            entry.guest.is_some() && other.0.get(*name).is_some_and(|other| other.digest == entry.digest)
        };
        self.0.iter().filter(same).count()
    }
}

/// Loads all guests, several at a time. Guests with unchanged bytes and settings are taken from `earlier`. `monitor`
/// provides their observers.
///
/// # Errors
/// If a guest that isn't optional, or that was loaded until now, can't be loaded. The errors of all guests are
/// reported.
pub(crate) async fn load(
    engine: &Engine,
    guests: &BTreeMap<String, Located<config::Guest>>,
    earlier: &LoadedGuests,
    monitor: Option<&dyn GuestMonitor>,
    inspector: Option<&Arc<dyn Inspector>>,
    recorder: Option<&Arc<Recorder>>,
) -> Result<LoadedGuests, StartError> {
    let (mut loaded, mut faults) = (HashMap::new(), Vec::new());
    let attempts = attempts(engine, guests, earlier, monitor, inspector, recorder).await;
    for Attempt { name, may_fail, observer, result } in attempts {
        match result {
            Ok(entry) => drop(loaded.insert(name, entry)),
            Err(fault) if may_fail => {
                tracing::error!(guest = name, "{fault}; it is optional, so requests to its routes get 503");
                if let Some(monitor) = monitor {
                    monitor.failed_to_load(&name, &fault);
                }
                let digest = Digest::of([]);
                loaded.insert(name, Entry { digest, guest: None, recorded: None, _observer: observer });
            }
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(LoadedGuests(loaded)) } else { Err(StartError::Guests(faults)) }
}

/// Loads all guests as a check. Returns the warnings about each, by name, or why it can't be loaded.
pub(crate) async fn check(
    engine: &Engine,
    guests: &BTreeMap<String, Located<config::Guest>>,
) -> Vec<(String, Result<Vec<String>, String>)> {
    let attempts = attempts(engine, guests, &LoadedGuests::default(), None, None, None).await.into_iter();
    let warnings = |entry: Entry| {
        let warnings = entry.guest.iter().flat_map(|loaded| &loaded.guest.facts().warnings);
        warnings.map(ToString::to_string).collect()
    };
    attempts.map(|attempt| (attempt.name, attempt.result.map(warnings))).collect()
}

/// A guest that was loaded or couldn't be loaded.
struct Attempt {
    name: String,
    /// Whether the gateway can start without it.
    may_fail: bool,
    observer: Option<Arc<dyn Observer>>,
    result: Result<Entry, String>,
}

async fn attempts(
    engine: &Engine,
    guests: &BTreeMap<String, Located<config::Guest>>,
    earlier: &LoadedGuests,
    monitor: Option<&dyn GuestMonitor>,
    inspector: Option<&Arc<dyn Inspector>>,
    recorder: Option<&Arc<Recorder>>,
) -> Vec<Attempt> {
    let at_once = available_parallelism().map_or(1, Into::into);
    let jobs = guests.iter().map(|(name, guest)| {
        let (engine, name, guest) = (engine.clone(), name.clone(), guest.value.clone());
        let earlier = earlier.0.get(&name).cloned();
        let observer = monitor.map(|monitor| monitor.observer(&name));
        let inspector = inspector.cloned();
        let recorder = recorder.cloned();
        async move {
            let told = observer.clone();
            let was_up = earlier.as_ref().is_some_and(|earlier| earlier.guest.is_some());
            let may_fail = guest.optional && !was_up;
            // Compiling can take seconds, and must not delay other work of this runtime.
            let job = {
                let name = name.clone();
                tokio::task::spawn_blocking(move || {
                    load_one(&engine, &name, &guest, earlier, observer, inspector, recorder.as_ref())
                })
            };
            let result = job
                .await
                .unwrap_or_else(|_| Err(format!("guest {name}: loading failed for an unknown reason")));
            Attempt { name, may_fail, observer: told, result }
        }
    });
    let mut jobs = stream::iter(jobs.collect::<Vec<_>>()).buffer_unordered(at_once);
    let mut attempts = Vec::with_capacity(guests.len());
    let mut progress_delay = pin!(tokio::time::sleep(PROGRESS_DELAY));
    loop {
        tokio::select! {
            attempt = jobs.next() => match attempt {
                Some(attempt) => attempts.push(attempt),
                None => break,
            },
            () = &mut progress_delay, if !progress_delay.is_elapsed() => {}
        }
        if progress_delay.is_elapsed() && guests.len() > 1 {
            let (loaded, total) = (attempts.len(), guests.len());
            tracing::info!(target: LOADING_TARGET, loaded, total, "{loaded} of {total} guests are loaded");
        }
    }
    // Sorted by name, because errors are reported in this order.
    attempts.sort_by(|a, b| a.name.cmp(&b.name));
    attempts
}

fn load_one(
    engine: &Engine,
    name: &str,
    guest: &config::Guest,
    earlier: Option<Entry>,
    observer: Option<Arc<dyn Observer>>,
    inspector: Option<Arc<dyn Inspector>>,
    recorder: Option<&Arc<Recorder>>,
) -> Result<Entry, String> {
    let prepared = PreparedGuest::read(engine, name, guest)?;
    // An observer sees a guest from its start, or not at all.
    let digest = Digest::of([&prepared.digest[..], &[u8::from(observer.is_some())]]);
    let builder = match observer.clone() {
        Some(observer) => prepared.builder.clone().observer(observer),
        None => prepared.builder.clone(),
    };
    let mut entry = match earlier.filter(|earlier| earlier.guest.is_some() && earlier.digest == digest) {
        Some(earlier) => earlier,
        None => {
            let builder = builder.clone();
            let builder = match inspector.clone() {
                Some(inspector) => builder.trace(InstanceTracer::new(inspector)),
                None => builder,
            };
            let loaded = builder.load(&prepared.bytes).map_err(|error| guest_fault(&error))?;
            let loaded =
                LoadedGuest { guest: loaded, sha256: sha256(&prepared.bytes), since: SystemTime::now() };
            Entry { digest, guest: Some(loaded), recorded: None, _observer: observer }
        }
    };
    let recorder_digest = recorder.map(|recorder| recorder.digest());
    if entry.recorded.as_ref().map(|recorded| recorded.recorder_digest) != recorder_digest {
        let recorded = recorder
            .map(|recorder| load_recorded(builder, &prepared.bytes, name, guest, recorder, inspector));
        entry.recorded = recorded.transpose()?;
    }
    Ok(entry)
}

/// Loads a copy of a guest whose instances a recorder follows. There are no warnings about it.
fn load_recorded(
    builder: GuestBuilder,
    bytes: &[u8],
    name: &str,
    guest: &config::Guest,
    recorder: &Arc<Recorder>,
    inspector: Option<Arc<dyn Inspector>>,
) -> Result<RecordedGuest, String> {
    let path = match &guest.path.value {
        GuestSource::Embedded(..) => None,
        GuestSource::File(path) => Some(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
    };
    let env = guest.env.values().map(|value| &value.value);
    let secrets = GuestSecrets {
        config: config_bytes(name, guest)?,
        values: guest.args.iter().map(|arg| &arg.value).chain(env).cloned().collect(),
    };
    let limits: Limits = (&guest.limits).into();
    let origin = GuestOrigin {
        name: name.to_owned(),
        path,
        sha256: sha256(bytes),
        deadline: limits.deadline,
        secrets,
    };
    // Instances from a snapshot don't start with what their imports returned.
    let builder = builder.quiet().strict(false).snapshot(Snapshot::Off);
    let inspected = inspector.map(InstanceTracer::new);
    let builder = builder.trace(GuestTracer::new(recorder.clone(), origin, inspected));
    let guest = builder.load(bytes).map_err(|error| guest_fault(&error))?;
    Ok(RecordedGuest { guest, recorder_digest: recorder.digest() })
}

/// A guest of a configuration before it is loaded.
#[derive(Debug)]
pub struct PreparedGuest {
    /// The guest's settings.
    pub builder: GuestBuilder,
    /// The guest's module.
    pub bytes: Vec<u8>,
    /// A digest of the module and all settings. Guests with the same digest are identical.
    pub digest: [u8; 32],
}

impl PreparedGuest {
    /// Reads the guest's files.
    ///
    /// # Errors
    /// If a file can't be read, or the module isn't the one that the configuration pins.
    pub fn read(engine: &Engine, name: &str, guest: &config::Guest) -> Result<Self, String> {
        let bytes = match &guest.path.value {
            GuestSource::Embedded(_, bytes) => (*bytes).to_owned(),
            GuestSource::File(path) => std::fs::read(path)
                .map_err(|source| guest_fault(&LoadError::Read { path: path.clone(), source }))?,
        };
        if let Some(pin) = &guest.sha256
            && !sha256(&bytes).eq_ignore_ascii_case(pin)
        {
            return Err(format!(
                "guest {name}: the SHA-256 of its file differs from the one in the configuration"
            ));
        }
        let config = config_bytes(name, guest)?;
        let digest = Digest::of([&*bytes, &config, &json(&settings(guest))]).bytes();
        let mut builder = Guest::builder(engine).name(name).config(config);
        for arg in &guest.args {
            builder = builder.arg(&arg.value);
        }
        for (key, value) in &guest.env {
            builder = builder.env(key, &value.value);
        }
        for mount in &guest.mounts {
            builder = builder.mount(mount.0.clone());
        }
        Ok(Self { builder: apply_guest_settings(builder, guest), bytes, digest })
    }
}

/// What distinguishes guests besides the module and the configuration.
fn settings(guest: &config::Guest) -> config::Guest {
    config::Guest {
        path: Located::default(),
        sha256: None,
        config: None,
        config_file: None,
        optional: false,
        ..guest.clone()
    }
}

/// Passes a guest's settings on to the core.
fn apply_guest_settings(builder: GuestBuilder, guest: &config::Guest) -> GuestBuilder {
    let builder = if guest.trust_precompiled { builder.trust_precompiled() } else { builder };
    let builder = guest.allow.iter().fold(builder, |builder, allowed| builder.allow(allowed.0));
    builder
        .strict(guest.strict)
        .backtraces(guest.backtraces.into())
        .limits((&guest.limits).into())
        .pool((&guest.pool).into())
        .on_failure(guest.on_failure.into())
        .bodies(guest.bodies.into())
        .decoding((&guest.decoding).into())
        .stream(guest.stream.into())
        .snapshot(guest.snapshot.into())
}

fn config_bytes(name: &str, guest: &config::Guest) -> Result<Vec<u8>, String> {
    match (&guest.config, &guest.config_file) {
        (Some(text), _) => Ok(text.value.0.clone().into_bytes()),
        (None, None) => Ok(Vec::new()),
        (None, Some(path)) => std::fs::read(&path.value)
            .map_err(|error| format!("guest {name}: configuration {}: {}", path.display(), plain(&error))),
    }
}
