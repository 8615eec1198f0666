//! The routing table: the first matching route handles the request.

use std::cell::OnceCell;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderName, Request, Response, Uri};

use super::handler::Handler;
use super::host::requested_host;
use super::limits::RouteLimits;
use super::readings::{self, AmbiguousPath, Likelihood, Slashes};
use super::strip::Stripped;
use crate::body::BoxBody;
use crate::config::{self, EscapedSlashes, RouteScheme};
use crate::exchange::{Abandoned, Arrival, Inbound, ListenerId};
use crate::path::{is_unusual, normal};

/// A route that can handle requests.
pub(crate) struct Route {
    /// Its name in logs and metrics.
    pub(crate) name: Arc<str>,
    handler: Handler,
    limits: RouteLimits,
    conditions: Conditions,
    escaped_slashes: EscapedSlashes,
    stripped: Stripped,
    /// The names of its guests, including those that couldn't be loaded.
    guests: Vec<String>,
}

/// All routes, in the order of the configuration.
#[derive(Default)]
pub(crate) struct Routes {
    routes: Vec<Route>,
    /// Whether any route decodes slashes.
    decode: bool,
}

/// The route for a request.
pub(crate) struct Chosen<'a> {
    pub(crate) route: &'a Route,
    /// The path to use for the request, if it differs from the one that was sent.
    pub(crate) path: Option<String>,
}

/// The conditions of a route.
struct Conditions {
    listeners: Vec<ListenerId>,
    tls: Option<bool>,
    hosts: Vec<config::HostPattern>,
    path: Option<config::ExactPath>,
    path_prefix: Option<config::PathPrefix>,
    path_pattern: Option<config::PathPattern>,
    methods: Vec<config::MethodName>,
    headers: Vec<(HeaderName, config::HeaderMatch)>,
}

impl Route {
    pub(crate) fn new(config: &config::Route, name: Arc<str>, handler: Handler) -> Self {
        let headers = config.headers.iter().filter_map(|(name, condition)| {
            HeaderName::try_from(name.as_str()).ok().map(|name| (name, condition.value.clone()))
        });
        let conditions = Conditions {
            listeners: config.listen.iter().map(|address| ListenerId::of(address.as_str())).collect(),
            tls: config.scheme.map(RouteScheme::is_tls),
            hosts: config.host.iter().map(|host| host.value.clone()).collect(),
            path: config.path.as_ref().map(|path| path.value.clone()),
            path_prefix: config.path_prefix.as_ref().map(|prefix| prefix.value.clone()),
            path_pattern: config.path_pattern.as_ref().map(|pattern| pattern.value.clone()),
            methods: config.method.iter().map(|method| method.value.clone()).collect(),
            headers: headers.collect(),
        };
        Self {
            name,
            handler,
            limits: RouteLimits::new(config),
            conditions,
            escaped_slashes: config.escaped_slashes,
            stripped: Stripped::new(config),
            guests: config.guests.iter().map(|guest| guest.value.clone()).collect(),
        }
    }

    /// Whether a request on this route passes through all guests of the other route.
    fn has_guests_of(&self, other: &Self) -> bool {
        other.guests.iter().all(|guest| self.guests.contains(guest))
    }

    /// Responds to a request that this route matches.
    pub(crate) fn respond(
        &self,
        inbound: &mut Inbound,
        abandoned: &Abandoned,
    ) -> impl Future<Output = Response<BoxBody>> {
        self.stripped.apply(inbound.request.headers_mut());
        self.limits.respond(&self.handler, inbound, abandoned)
    }
}

impl Routes {
    pub(crate) fn new(routes: Vec<Route>) -> Self {
        let decode = routes.iter().any(|route| route.escaped_slashes == EscapedSlashes::Decode);
        Self { routes, decode }
    }

    /// Selects the route for a request.
    ///
    /// # Errors
    /// If the path has several readings that don't select the same route.
    pub(crate) fn choose<B>(
        &self,
        request: &Request<B>,
        arrival: Arrival,
    ) -> Result<Option<Chosen<'_>>, AmbiguousPath> {
        let view = RequestView { request, arrival, host: OnceCell::new() };
        let path = request.uri().path();
        if is_unusual(path) {
            return self.choose_for_unusual(&view, path, self.decode);
        }
        Ok(self.find(&view, path).map(|route| Chosen { route, path: None }))
    }

    #[cold]
    fn choose_for_unusual<B>(
        &self,
        view: &RequestView<'_, B>,
        path: &str,
        decode: bool,
    ) -> Result<Option<Chosen<'_>>, AmbiguousPath> {
        let as_sent = normal(path).ok_or(AmbiguousPath::ABOVE_ROOT)?;
        let route = self.find(view, &as_sent);
        if decode && let Some(decoded) = readings::decode_slashes(path) {
            let target = normal(&decoded).and_then(|path| self.find(view, &path));
            let decodes = |route: &Route| route.escaped_slashes == EscapedSlashes::Decode;
            if route.is_some_and(decodes) || target.is_some_and(decodes) {
                let chosen = self.choose_for_unusual(view, &decoded, false)?;
                return Ok(chosen.map(|Chosen { route, .. }| Chosen { route, path: Some(decoded) }));
            }
        }
        let Some(route) = route else { return Ok(None) };
        let slashes = match route.escaped_slashes {
            EscapedSlashes::Auto | EscapedSlashes::Decode => Slashes::Separate,
            EscapedSlashes::Keep => Slashes::Ordinary,
            EscapedSlashes::Reject if readings::has_escaped_slash(path) => {
                return Err(AmbiguousPath("the path has an escaped slash, which the route rejects"));
            }
            EscapedSlashes::Reject => Slashes::Separate,
        };
        readings::check_hidden_dots(path, slashes)?;
        readings::check(path, slashes, |likely, reading| {
            let other = self.find(view, reading);
            let fits = match likely {
                Likelihood::Common => other.is_some_and(|other| std::ptr::eq(route, other)),
                Likelihood::Rare => other.is_none_or(|other| route.has_guests_of(other)),
            };
            if fits { Ok(()) } else { Err(AmbiguousPath("the path can be read as that of another route")) }
        })?;
        Ok(Some(Chosen { route, path: None }))
    }

    fn find<B>(&self, view: &RequestView<'_, B>, path: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.conditions.fit(view, path))
    }
}

impl Chosen<'_> {
    /// Sets the path to use for the request.
    pub(crate) fn rewrite<B>(&self, request: &mut Request<B>) {
        let Some(path) = &self.path else { return };
        let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        // The path is shorter than the one that was sent, and consists of the same characters.
        parts.path_and_query = PathAndQuery::try_from(format!("{path}{query}")).ok();
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
}

/// A request as seen by conditions. Parts that no condition needs aren't computed.
struct RequestView<'a, B> {
    request: &'a Request<B>,
    arrival: Arrival,
    host: OnceCell<Option<String>>,
}

impl<B> RequestView<'_, B> {
    fn host(&self) -> Option<&str> {
        self.host.get_or_init(|| requested_host(self.request)).as_deref()
    }
}

impl Conditions {
    fn fit<B>(&self, view: &RequestView<'_, B>, path: &str) -> bool {
        self.tls.is_none_or(|wanted| wanted == view.arrival.tls)
            && (self.listeners.is_empty() || self.listeners.contains(&view.arrival.listener))
            && self.path.as_ref().is_none_or(|wanted| wanted.fits(path))
            && self.path_prefix.as_ref().is_none_or(|wanted| wanted.fits(path))
            && self.path_pattern.as_ref().is_none_or(|wanted| wanted.fits(path))
            && (self.methods.is_empty()
                || self.methods.iter().any(|method| method.0 == view.request.method()))
            && (self.hosts.is_empty()
                || view.host().is_some_and(|host| self.hosts.iter().any(|wanted| wanted.fits(host))))
            && self.headers.iter().all(|(name, condition)| condition.fits(name, view.request.headers()))
    }
}

#[cfg(test)]
mod tests;
