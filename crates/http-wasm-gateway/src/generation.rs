//! A configuration that is ready to serve. The next one reuses whatever hasn't changed.

use std::collections::HashMap;
use std::sync::Arc;

use http_wasm_tower::{BodyBudget, Guest};

use crate::blocking::blocking;
use crate::config::{self, Config, Draft};
use crate::digest::Digest;
use crate::error::StartError;
use crate::exchange::RequestObserver;
use crate::guests::{self, GuestMonitor, LoadedGuests};
use crate::inspect::Inspector;
use crate::observe::{Configured, Monitor, Observers};
use crate::process_state::ProcessState;
use crate::proxy::Proxy;
use crate::recording::Recorder;
use crate::route::{Handler, NextHandler, Route, Routes};
use crate::stage::CurrentStage;

/// A configuration with its guests, upstreams and routes.
pub(crate) struct Generation {
    pub(crate) config: Config,
    pub(crate) routes: Routes,
    pub(crate) guests: LoadedGuests,
    pub(crate) observers: Observers,
    /// What records exchanges, if anything does.
    pub(crate) recorder: Option<Arc<Recorder>>,
    upstreams: Upstreams,
}

/// Upstreams by name, with digests of what they were built from.
type Upstreams = HashMap<String, (Digest, Arc<Proxy>)>;

impl Generation {
    /// The generation before the first one. It serves nothing, and has the observers for all later ones.
    pub(crate) fn none(given: Vec<Arc<dyn RequestObserver>>) -> Self {
        Self {
            config: Config::default(),
            routes: Routes::new(Vec::new()),
            guests: LoadedGuests::default(),
            observers: Observers::with_embedder(given),
            recorder: None,
            upstreams: HashMap::new(),
        }
    }

    /// Builds everything that a configuration needs, except addresses.
    ///
    /// # Errors
    /// If a guest that isn't optional can't be loaded, an upstream's files are invalid, or a log can't be opened.
    pub(crate) async fn build(
        process_state: &ProcessState,
        config: Config,
        monitor: Option<Arc<Monitor>>,
        earlier: &Arc<Self>,
    ) -> Result<Self, StartError> {
        let (config, recorder) = {
            let earlier = earlier.recorder.clone();
            blocking(move || Ok::<_, StartError>((Recorder::next(&config, earlier.as_ref())?, config)))
                .await?
                .map(|(recorder, config)| (config, recorder))?
        };
        let guests = guests::load(
            &process_state.engine,
            &config.guests,
            &earlier.guests,
            monitor.as_deref().map(|monitor| monitor as &dyn GuestMonitor),
            process_state.inspector.as_ref(),
            recorder.as_ref(),
        )
        .await?;
        let (body_budget, earlier) = (process_state.engine.body_budget().clone(), earlier.clone());
        let (stage, inspector) = (process_state.stage.clone(), process_state.inspector.clone());
        blocking(move || {
            let upstreams = upstreams(&body_budget, &config, &earlier.upstreams)?;
            let routes = routes(&config, &guests, &upstreams, &stage, inspector.as_ref(), recorder.as_ref());
            // Last, because opening a log file creates it.
            let observers = Observers::next(&config, monitor, &earlier.observers)?;
            Ok(Self { config, routes, guests, observers, recorder, upstreams })
        })
        .await?
    }

    /// Builds what can be read of a configuration, without visible effects, and adds faults to `draft`.
    pub(crate) async fn check(process_state: &ProcessState, config: &Config, draft: &mut Draft) {
        for (name, result) in guests::check(&process_state.engine, &config.guests).await {
            let optional = config.guests.get(&name).is_some_and(|guest| guest.optional);
            match result {
                Ok(warnings) => {
                    for warning in warnings {
                        draft.add_guest_warning(&name, format!("guest {name}: {warning}"));
                    }
                }
                Err(reason) if optional => {
                    draft.add_guest_warning(
                        &name,
                        format!(
                            "{reason}\nrequests to routes of an optional guest that can't be loaded get 503"
                        ),
                    );
                }
                Err(reason) => draft.add_guest_error(&name, reason),
            }
        }
        for (name, upstream) in &config.upstreams {
            if let Err(reason) = Proxy::new(name, upstream) {
                draft.add_upstream_error(name, reason);
            }
        }
    }

    /// Shows operators that this is the configuration in use.
    pub(crate) fn show(&self, process_state: &ProcessState) {
        if let Some(monitor) = &self.observers.monitor {
            let upstreams = self.upstreams.values().map(|(_, proxy)| proxy.clone());
            monitor.configured(Configured::new(&self.config, process_state, &self.guests, upstreams));
        }
    }
}

/// An unchanged upstream keeps its connections and health state. Reads files. Must be called within a runtime.
fn upstreams(
    body_budget: &BodyBudget,
    config: &Config,
    earlier: &Upstreams,
) -> Result<Upstreams, StartError> {
    let upstreams = config.upstreams.iter().map(|(name, upstream)| {
        let digest = Digest::of_settings(&upstream.value, upstream.files());
        let same = earlier.get(name).filter(|same| same.0 == digest);
        let proxy = match same {
            Some((_, proxy)) => proxy.clone(),
            None => match Proxy::new(name, upstream) {
                Ok(proxy) => Arc::new(proxy.with_body_budget(body_budget)),
                Err(reason) => return Err(StartError::System(format!("upstream {name}: {reason}"))),
            },
        };
        Ok((name.clone(), (digest, proxy)))
    });
    upstreams.collect()
}

fn routes(
    config: &Config,
    guests: &LoadedGuests,
    upstreams: &Upstreams,
    stage: &CurrentStage,
    inspector: Option<&Arc<dyn Inspector>>,
    recorder: Option<&Arc<Recorder>>,
) -> Routes {
    let routes = config.routes.iter().enumerate().map(|(index, route)| {
        let handler = route_handler(route, guests, upstreams, stage).inspected_by(inspector.cloned());
        let handler = match recorder.zip(recorded_guests(route, guests)) {
            Some((recorder, copies)) => handler.recorded(recorder.clone(), copies),
            None => handler,
        };
        Route::new(route, route.name_at(index).into(), handler)
    });
    Routes::new(routes.collect())
}

/// The copies of a route's guests for recorded exchanges, if all of them are loaded.
fn recorded_guests(route: &config::Route, guests: &LoadedGuests) -> Option<Vec<Guest>> {
    route.guests.iter().map(|name| guests.recorded(&name.value).cloned()).collect()
}

fn route_handler(
    route: &config::Route,
    guests: &LoadedGuests,
    upstreams: &Upstreams,
    stage: &CurrentStage,
) -> Handler {
    let chain: Option<Vec<_>> = route.guests.iter().map(|name| guests.get(&name.value).cloned()).collect();
    let upstream =
        route.upstream.as_ref().map(|name| upstreams.get(name.as_str()).map(|(_, proxy)| proxy.clone()));
    match (chain, upstream) {
        (Some(guests), Some(Some(upstream))) => Handler::new(guests, NextHandler::new(route, Some(upstream))),
        (Some(guests), None) => match &route.ext_proc {
            Some(settings) => Handler::ext_proc(guests, route, settings, stage),
            None => Handler::new(guests, NextHandler::new(route, None)),
        },
        // An optional guest is missing. Without it, the request must not proceed.
        _ => Handler::new(Vec::new(), NextHandler::Unavailable),
    }
}
