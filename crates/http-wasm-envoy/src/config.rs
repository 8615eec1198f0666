//! Configurations of filters and routes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http_wasm_gateway::config::guests_from_json;
use serde_json::{Map, Value};

use crate::ffi::ConfigPtr;
use crate::filter::Filter;
use crate::process::{SharedGuest, try_process};
use crate::proto;
use crate::route_count::{self, RouteCount};
use crate::stats::Stats;

/// What a filter does with a request.
#[derive(Clone)]
pub(crate) struct Behaviour {
    /// The guests, in the order in which they see the request.
    pub(crate) chain: Vec<Arc<SharedGuest>>,
    /// Whether Envoy selects the route again after guests have changed the path, the method or the host.
    pub(crate) reselect_route: bool,
    /// Whether each call's duration and outcome are written to the stream's dynamic metadata.
    pub(crate) metadata: bool,
}

/// The configuration of a filter.
pub(crate) struct Config {
    /// A unique ID.
    id: u64,
    pub(crate) behaviour: Behaviour,
    guests: BTreeMap<String, Arc<SharedGuest>>,
    pub(crate) stats: Stats,
    /// Whether Envoy has dropped it. Streams may still use it.
    is_dropped: AtomicBool,
}

/// The configuration of a route. Settings that are `None` are inherited from the filter's configuration.
pub(crate) struct RouteConfig {
    /// The chain of the route's own guests, if it has any.
    own: Option<Vec<Arc<SharedGuest>>>,
    /// Names of the filter's guests.
    chain: Option<Vec<String>>,
    reselect_route: Option<bool>,
    metadata: Option<bool>,
    /// The result of merging this with a filter's configuration, and that configuration's ID. Only cached for the first
    /// one that this route is used with.
    merged: OnceLock<(u64, Arc<Behaviour>)>,
    _count: RouteCount,
}

/// A configuration as written.
#[derive(Default)]
struct RawConfig {
    guests: Option<Map<String, Value>>,
    chain: Option<Vec<String>>,
    reselect_route: Option<bool>,
    metadata: Option<bool>,
}

const SETTINGS: &str = "its settings are: guests, chain, reselect_route, metadata";

impl RawConfig {
    fn read(text: &[u8]) -> Result<Self, String> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let value = match serde_json::from_slice(text) {
            Ok(value) => value,
            Err(error) => proto::object(text).map(Value::Object).ok_or_else(|| {
                format!(
                    "the configuration is not JSON: {error}; use google.protobuf.Struct, or a StringValue with JSON"
                )
            })?,
        };
        let Value::Object(table) = value else {
            return Err(format!("the configuration is not a JSON object; {SETTINGS}"));
        };
        let mut written = Self::default();
        for (key, value) in table {
            match (&*key, value) {
                (_, Value::Null) => {}
                ("guests", Value::Object(guests)) => written.guests = Some(guests),
                ("chain", Value::Array(names)) => {
                    let names = names.into_iter().map(|name| match name {
                        Value::String(name) => Ok(name),
                        other => Err(format!("`chain`: expected guest names, found {other}")),
                    });
                    written.chain = Some(names.collect::<Result<_, _>>()?);
                }
                ("reselect_route", Value::Bool(value)) => written.reselect_route = Some(value),
                ("metadata", Value::Bool(value)) => written.metadata = Some(value),
                ("guests", _) => return Err("`guests`: expected an object whose keys are guest names".into()),
                ("chain", _) => return Err("`chain`: expected a list of guest names".into()),
                ("reselect_route" | "metadata", _) => return Err(format!("`{key}`: expected true or false")),
                _ => return Err(format!("unknown setting `{key}`; {SETTINGS}")),
            }
        }
        Ok(written)
    }

    /// Loads the guests that the configuration defines.
    fn load(&self) -> Result<BTreeMap<String, Arc<SharedGuest>>, String> {
        let Some(written) = &self.guests else { return Ok(BTreeMap::new()) };
        let process = try_process()?;
        let guests =
            guests_from_json(written, |path| process.allows(path)).map_err(|faults| faults.to_string())?;
        let load = |(name, settings): (String, http_wasm_gateway::config::Guest)| {
            if settings.trust_precompiled {
                return Err(format!(
                    "guest {name}: `trust_precompiled` can't be set in Envoy's configuration"
                ));
            }
            let guest = process.guest(&name, &settings);
            match guest {
                Ok(guest) => Ok((name, guest)),
                Err(fault) => Err(fault),
            }
        };
        guests.into_iter().map(load).collect()
    }
}

/// The guests with these names. Without names, the only guest.
fn chain(
    guests: &BTreeMap<String, Arc<SharedGuest>>,
    names: Option<&[String]>,
) -> Result<Vec<Arc<SharedGuest>>, String> {
    let Some(names) = names else {
        return match guests.len() {
            0 | 1 => Ok(guests.values().cloned().collect()),
            count => Err(format!("`chain` is missing: it gives the order of the {count} guests")),
        };
    };
    let find = |name: &String| {
        let known = || guests.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        guests
            .get(name)
            .cloned()
            .ok_or_else(|| format!("`chain`: no guest is named {name:?}; there are: {}", known()))
    };
    names.iter().map(find).collect()
}

impl Config {
    /// Loads a filter's configuration.
    ///
    /// # Errors
    /// The reason why it is invalid.
    pub(crate) fn load(name: &str, text: &[u8], envoy: ConfigPtr) -> Result<Self, String> {
        let written = RawConfig::read(text)?;
        let guests = written.load()?;
        let behaviour = Behaviour {
            chain: chain(&guests, written.chain.as_deref())?,
            reselect_route: written.reselect_route.unwrap_or(true),
            metadata: written.metadata.unwrap_or(false),
        };
        let stats = Stats::define(name, envoy);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, behaviour, guests, stats, is_dropped: AtomicBool::new(false) })
    }

    /// The filter's name.
    pub(crate) fn name(&self) -> &str {
        self.stats.filter()
    }

    /// Records that Envoy has dropped the configuration.
    pub(crate) fn dropped(&self) {
        self.is_dropped.store(true, Ordering::Relaxed);
    }

    /// The number of streams that use it, plus one for the caller's reference.
    pub(crate) fn streams(self: &Arc<Self>) -> usize {
        Arc::strong_count(self) - usize::from(!self.is_dropped.load(Ordering::Relaxed))
    }

    /// The behaviour for a stream's request, if its route has its own.
    ///
    /// # Errors
    /// When its route names a guest that the filter doesn't have.
    pub(crate) fn of_route(&self, filter: &Filter) -> Result<Option<Arc<Behaviour>>, String> {
        let Some(route) = RouteConfig::of(filter) else { return Ok(None) };
        match route.merged.get() {
            Some((id, merged)) if *id == self.id => Ok(Some(merged.clone())),
            _ => self.merged(route).map(Some),
        }
    }

    fn merged(&self, route: &RouteConfig) -> Result<Arc<Behaviour>, String> {
        let chain = match (&route.own, &route.chain) {
            (Some(own), _) => own.clone(),
            (None, Some(names)) => chain(&self.guests, Some(names))?,
            (None, None) => self.behaviour.chain.clone(),
        };
        let merged = Arc::new(Behaviour {
            chain,
            reselect_route: route.reselect_route.unwrap_or(self.behaviour.reselect_route),
            metadata: route.metadata.unwrap_or(self.behaviour.metadata),
        });
        // A route may outlive this configuration, and must not keep its guests alive.
        if route.own.is_some() {
            let _other = route.merged.set((self.id, merged.clone()));
        }
        Ok(merged)
    }
}

impl RouteConfig {
    /// Loads a route's configuration.
    ///
    /// # Errors
    /// The reason why it is invalid.
    pub(crate) fn load(text: &[u8]) -> Result<Self, String> {
        let written = RawConfig::read(text)?;
        let own = match &written.guests {
            Some(_) => Some(chain(&written.load()?, written.chain.as_deref())?),
            None => None,
        };
        Ok(Self {
            own,
            chain: written.chain,
            reselect_route: written.reselect_route,
            metadata: written.metadata,
            merged: OnceLock::new(),
            _count: RouteCount::new(),
        })
    }

    /// The configuration of the most specific route of a stream that has one.
    #[expect(unsafe_code, reason = "Envoy keeps it without its type")]
    fn of(filter: &Filter) -> Option<&Self> {
        // Most Envoys have none.
        if route_count::current() == 0 {
            return None;
        }
        let config = filter.route_config()?.cast::<Self>();
        // SAFETY: `http_filter_per_route_config_new` made it, and the stream keeps its route alive.
        Some(unsafe { config.as_ref() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        RawConfig::read(text.as_bytes()).err().expect("it is wrong")
    }

    #[test]
    fn configuration_errors_name_what_is_expected() {
        assert!(fault("{").contains("not JSON"));
        assert!(fault("[]").contains("not a JSON object"));
        assert!(fault(r#"{"chian": []}"#).contains("unknown setting `chian`; its settings are"));
        assert!(fault(r#"{"chain": [1]}"#).contains("expected guest names, found 1"));
        assert!(fault(r#"{"metadata": 1}"#).contains("`metadata`: expected true or false"));
    }

    #[test]
    fn an_empty_configuration_has_no_guests() {
        let written = RawConfig::read(b"{}").unwrap();
        assert!(chain(&written.load().unwrap(), None).unwrap().is_empty());
        assert!(chain(&BTreeMap::new(), Some(&["a".into()])).is_err());
    }
}
