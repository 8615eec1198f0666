//! The table of routes: the first that fits takes the request.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderName, Request, Response, header};

use super::limits::Limits;
use super::{Handler, normal};
use crate::body::BoxBody;
use crate::config;
use crate::inbound::Inbound;

/// A route, ready to take requests.
pub(crate) struct Route {
    /// Its name in logs and metrics.
    pub(crate) name: Arc<str>,
    handler: Handler,
    limits: Limits,
    /// Whether requests leave this process.
    pub(crate) proxied: bool,
    conditions: Conditions,
}

/// All routes, in the order of the configuration.
#[derive(Default)]
pub(crate) struct Routes(Vec<Route>);

/// What a route asks of requests.
struct Conditions {
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
            hosts: config.host.to_vec(),
            path: config.path.clone(),
            path_prefix: config.path_prefix.clone(),
            path_pattern: config.path_pattern.clone(),
            methods: config.method.to_vec(),
            headers: headers.collect(),
        };
        Self { name, handler, limits: Limits::new(config), proxied: config.upstream.is_some(), conditions }
    }

    /// The answer to a request that this route takes.
    pub(crate) fn respond(&self, inbound: &mut Inbound) -> impl Future<Output = Response<BoxBody>> {
        self.limits.respond(&self.handler, inbound)
    }
}

impl Routes {
    pub(crate) fn new(routes: Vec<Route>) -> Self {
        Self(routes)
    }

    /// The route that takes this request.
    pub(crate) fn find<B>(&self, request: &Request<B>) -> Option<&Route> {
        let asked = Asked { request, host: OnceCell::new(), path: OnceCell::new() };
        self.0.iter().find(|route| route.conditions.fit(&asked))
    }
}

/// A request as conditions see it; what none of them asks for is not worked out.
struct Asked<'a, B> {
    request: &'a Request<B>,
    host: OnceCell<Option<String>>,
    path: OnceCell<Cow<'a, str>>,
}

impl<B> Asked<'_, B> {
    fn host(&self) -> Option<&str> {
        self.host.get_or_init(|| host(self.request)).as_deref()
    }

    fn path(&self) -> &str {
        self.path.get_or_init(|| normal(self.request.uri().path()))
    }
}

impl Conditions {
    fn fit<B>(&self, asked: &Asked<'_, B>) -> bool {
        self.path.as_ref().is_none_or(|wanted| wanted.fits(asked.path()))
            && self.path_prefix.as_ref().is_none_or(|wanted| wanted.fits(asked.path()))
            && self.path_pattern.as_ref().is_none_or(|wanted| wanted.fits(asked.path()))
            && (self.methods.is_empty()
                || self.methods.iter().any(|method| method.0 == asked.request.method()))
            && (self.hosts.is_empty()
                || asked.host().is_some_and(|host| self.hosts.iter().any(|wanted| wanted.fits(host))))
            && self.headers.iter().all(|(name, condition)| condition.fits(name, asked.request.headers()))
    }
}

/// The host that a request asks for, without port and in lower case. The target's goes before the header's, as RFC 9112 section 3.2.2
/// demands.
fn host<B>(request: &Request<B>) -> Option<String> {
    let from_target = || request.uri().authority().cloned();
    let from_header = || Authority::try_from(request.headers().get(header::HOST)?.as_bytes()).ok();
    let mut host = from_target().or_else(from_header)?.host().to_ascii_lowercase();
    // The root's dot makes no difference to what a name means.
    if host.ends_with('.') {
        host.pop();
    }
    Some(host)
}
