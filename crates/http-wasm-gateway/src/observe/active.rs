//! The configuration in use, and whether requests are accepted.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use http_wasm_tower::{Engine, PoolStats};
use serde::Serialize;

use crate::config::{self, Config, Located};
use crate::digest::sha256;
use crate::guests::{LoadedGuest, LoadedGuests};
use crate::process_state::ProcessState;
use crate::proxy::{AddressStatus, Proxy};
use crate::stage::{CurrentStage, Stage};

/// The configuration in use, and the stage.
pub(crate) struct Active {
    stage: CurrentStage,
    configured: RwLock<Option<Arc<Configured>>>,
}

/// A configuration as operators see it. It keeps guests and upstreams alive only while it is in use.
pub(crate) struct Configured {
    pub(crate) since: SystemTime,
    /// Settings that take effect only after a restart.
    pub(crate) at_next_start: Vec<&'static str>,
    /// SHA-256 of the configuration, including defaults.
    pub(crate) sha256: String,
    pub(crate) engine: Engine,
    /// The memory budget of all guests, in bytes.
    pub(crate) memory_budget: usize,
    pub(crate) guests: Vec<ConfiguredGuest>,
    pub(crate) upstreams: Vec<Arc<Proxy>>,
    pub(crate) routes: Vec<ConfiguredRoute>,
}

/// A guest of the configuration in use.
pub(crate) struct ConfiguredGuest {
    pub(crate) name: Arc<str>,
    pub(crate) optional: bool,
    /// `None` for an optional guest that couldn't be loaded.
    pub(crate) loaded: Option<LoadedGuest>,
}

/// A route of the configuration in use.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ConfiguredRoute {
    pub(crate) name: String,
    pub(crate) guests: Vec<String>,
    pub(crate) upstream: Option<String>,
}

impl Active {
    pub(super) fn new(stage: CurrentStage) -> Self {
        Self { stage, configured: RwLock::new(None) }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.stage() == Stage::Ready
    }

    pub(crate) fn configured(&self) -> Option<Arc<Configured>> {
        self.configured.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, configured: Configured) {
        *self.configured.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(configured));
    }
}

impl Configured {
    pub(crate) fn new(
        config: &Config,
        process_state: &ProcessState,
        guests: &LoadedGuests,
        upstreams: impl IntoIterator<Item = Arc<Proxy>>,
    ) -> Self {
        let guest = |(name, guest): (&String, &Located<config::Guest>)| ConfiguredGuest {
            name: name.as_str().into(),
            optional: guest.optional,
            loaded: guests.loaded(name).cloned(),
        };
        let mut upstreams: Vec<_> = upstreams.into_iter().collect();
        upstreams.sort_by(|a, b| a.name().cmp(b.name()));
        Self {
            since: SystemTime::now(),
            // Numbers, strings, lists and tables with string keys can always be represented in JSON.
            sha256: sha256(&serde_json::to_vec(config).unwrap_or_default()),
            at_next_start: process_state.start_only.differing(config),
            engine: process_state.engine.clone(),
            memory_budget: process_state.memory,
            guests: config.guests.iter().map(guest).collect(),
            upstreams,
            routes: config
                .routes
                .iter()
                .enumerate()
                .map(|(index, route)| ConfiguredRoute::new(index, route))
                .collect(),
        }
    }

    /// The addresses of all upstreams, with the upstream's name.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&Arc<str>, AddressStatus)> {
        self.upstreams.iter().flat_map(|proxy| proxy.addresses().map(|address| (proxy.name(), address)))
    }

    /// The loaded guests, with the counts of their pools.
    pub(crate) fn stats(&self) -> impl Iterator<Item = (&Arc<str>, PoolStats)> {
        self.guests.iter().filter_map(|guest| Some((&guest.name, guest.loaded.as_ref()?.guest.stats())))
    }
}

impl ConfiguredRoute {
    fn new(index: usize, route: &config::Route) -> Self {
        Self {
            name: route.name_at(index),
            guests: route.guests.iter().map(|guest| guest.value.clone()).collect(),
            upstream: route.upstream.as_ref().map(|upstream| upstream.value.clone()),
        }
    }
}

impl fmt::Debug for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Active").field("stage", &self.stage()).finish_non_exhaustive()
    }
}
